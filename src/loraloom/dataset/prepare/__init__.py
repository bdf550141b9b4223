"""Prepare a set for training: crop, mask, enlarge, convert, fit; cut clips into frames."""
