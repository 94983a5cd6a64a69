"""What runs one component of one run: its actor, its resources, and how it ends."""
