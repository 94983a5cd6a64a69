"""Control connections: how a node reaches its helpers, in this process or over gRPC, and how it serves them.

Each kind of helper is a row of `lanemesh.helper_kinds` and a module here, which defines both ends of its connections (`ends`):
what nodes call, and how a helper answers. `links` carries the calls of any kind within this process. `grpc_link` and `grpc_service`
carry them between processes; they are the only modules here that import gRPC.
"""
