"""The registry: which node servers there are, what they can run, and which of them takes a component."""
