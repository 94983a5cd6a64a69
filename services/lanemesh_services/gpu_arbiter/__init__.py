"""The GPU arbiter as a server: who may use which GPU of this machine."""
