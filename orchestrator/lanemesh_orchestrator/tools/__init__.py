"""The tools of deployed pipelines, for clients outside any run.

A call is a run of the component that has the tool, its helpers and a `tool_caller` that invokes it. So placement, permissions,
redaction, cancellation and history are those of runs.
"""
