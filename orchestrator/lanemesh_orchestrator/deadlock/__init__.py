"""Artificial deadlock: snapshots of a run, the detector, the monitor that grows lanes, and explanations."""
