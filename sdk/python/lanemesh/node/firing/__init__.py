"""Firings: when a node fires, how its body runs, and how its outputs and errors are handled."""
