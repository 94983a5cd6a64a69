"""The node host: runs the instances of runs, without gRPC."""
