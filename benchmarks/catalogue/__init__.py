"""The rows of `benchmarks/catalogue.py`: a module for each family of nodes, each beside a loop by hand with the same libraries."""
