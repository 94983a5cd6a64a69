"""Control connections: how a node reaches its models and tools, in this process or over gRPC, and how it serves them.

`llm` and `tools` hold what nodes call and the clients of helpers in this process; `grpc_clients` and `servicers` are the two
ends over gRPC, and the only modules here that import it.
"""
