"""Waits and tasks: additions to asyncio for all other packages."""
