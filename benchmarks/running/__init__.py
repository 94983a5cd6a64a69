"""What runs cost: the parts of `benchmarks/runs.py`."""
