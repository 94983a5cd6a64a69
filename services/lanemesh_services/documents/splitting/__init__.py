"""Splits texts into chunks while they arrive."""
