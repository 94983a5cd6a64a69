"""Running pipelines: what a run is to its caller, and a client for an orchestrator elsewhere."""
