"""gRPC as every part of Lanemesh uses it: connections, servers, status, timestamps."""
