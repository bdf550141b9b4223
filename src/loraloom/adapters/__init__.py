"""Adapter files: key layouts per consumer, metadata, reading, writing, checking."""
