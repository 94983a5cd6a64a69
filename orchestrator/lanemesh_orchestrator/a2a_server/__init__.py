"""An A2A server that offers what a mesh has: each deployed pipeline is an agent, with an agent card of its own.

It is a client of an orchestrator. A task is a detached run, and its id is the run's id. The events of a task are made from the
run's log of updates, so a subscription gets every event, the terminal one included, from any server of the mesh.
"""
