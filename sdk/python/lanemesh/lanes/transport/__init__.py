"""Transports of lanes: memory within one process, gRPC between processes."""
