"""Node servers: host the instances of runs, serve lanes and control connections, join an orchestrator."""
