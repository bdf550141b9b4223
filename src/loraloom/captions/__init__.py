"""What captions say: their vocabulary, what is wrong with them, and how it is mended."""
