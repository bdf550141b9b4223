"""Base models, taken in: from the hub, from a folder, from a single checkpoint file."""
