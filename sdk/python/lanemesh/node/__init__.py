"""Authoring nodes: the `Node` class, its ports and context, and the actor that runs it."""
