"""Channels: the service for node servers and clients."""
