"""Running pipelines: the run objects of a caller, and a client for a remote orchestrator."""
