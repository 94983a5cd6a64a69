"""Channels: the service by which node servers and clients reach the broker."""
