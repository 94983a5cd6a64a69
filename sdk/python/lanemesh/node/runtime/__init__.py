"""The execution of one component of one run: its actor, its resources, and its end."""
