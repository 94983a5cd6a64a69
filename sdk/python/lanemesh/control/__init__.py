"""Control connections: how a node reaches its helpers, in this process or over gRPC, and how it serves them.

Each kind of helper is a row of `lanemesh.helper_kinds` and a module here, which defines both ends of its connections (`ends`):
the clients of nodes, and the answers of helpers. `links` carries the calls of any kind within this process. `grpc_link` and
`grpc_service` carry them between processes; only these modules import gRPC.
"""
