"""Scheduling: which node server runs which component, when there is capacity for it, and how servers are launched."""
