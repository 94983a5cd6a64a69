"""Tests of the page in a real Chromium. `make browser` runs them."""
