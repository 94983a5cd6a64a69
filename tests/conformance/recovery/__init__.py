"""Tests of recovery; a package, so that its mesh ends with it."""
