"""Runs that are remembered: a store in SQLite or PostgreSQL, what writes to it, and what reads from it."""
