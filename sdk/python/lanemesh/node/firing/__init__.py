"""Firings: when a node fires, how its body runs, and what becomes of its outputs and errors."""
