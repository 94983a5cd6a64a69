"""What carries a lane: memory within one process, gRPC between processes."""
