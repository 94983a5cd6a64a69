"""Runs: placing a graph on node servers, supervising it, and telling its clients."""
