"""What the clients of a mesh get: every item of a run delivered to the client's program, starts, memory."""
