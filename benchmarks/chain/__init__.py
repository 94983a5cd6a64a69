"""The chain that the benchmarks move items through, built several ways, and what is measured on it."""
