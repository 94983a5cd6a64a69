"""Readers of files: each yields the parts of a file, in order, as they are read."""
