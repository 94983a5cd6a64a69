"""Joins: lineage of items, and the rule by which items of one fork fire together. Pure."""
