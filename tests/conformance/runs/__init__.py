"""Tests of runs; a package, so that its meshes end with it."""
