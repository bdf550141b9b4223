"""Loraloom: from a folder of captioned pictures to a tested, documented adapter."""

__version__ = "0.1.0"
