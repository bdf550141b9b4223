"""From files on disk to checked pictures with captions."""
