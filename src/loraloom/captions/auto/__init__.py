"""Captions made automatically: by taggers, Florence-2, or a vision model behind an address."""
