"""The benchmarks of the bundled nodes: a module for each family."""
