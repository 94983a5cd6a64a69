"""The GPU arbiter as a server: leases the GPUs of this machine."""
