"""Tests of the web gateway, over a mesh in its process and over a client."""
