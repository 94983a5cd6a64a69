"""The registry: the node servers, their node types, and the server for a component."""
