"""Runs: placing a graph on node servers, supervising it, and reporting to its clients."""
