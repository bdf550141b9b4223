"""The starter world: scenes with exact captions, drawn with a pen in several styles."""
