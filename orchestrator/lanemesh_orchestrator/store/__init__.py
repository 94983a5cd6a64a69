"""The store of runs, in SQLite or PostgreSQL, with its writer and its readers."""
