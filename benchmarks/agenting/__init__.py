"""The parts of the benchmark of agents."""
