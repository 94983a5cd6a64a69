"""Benchmarks of the bundled nodes: a module for each family, each beside a loop by hand with the same libraries.

The folder is not called `catalogue`, which is a library that spaCy imports.
"""
