"""Names in texts: found, and replaced by others."""
