"""The studio: jobs in a database, and the workers that run them. Nothing here imports torch."""
