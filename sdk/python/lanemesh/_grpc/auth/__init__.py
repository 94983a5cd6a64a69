"""Who calls a server: the tokens that it accepts, and what their callers may do."""
