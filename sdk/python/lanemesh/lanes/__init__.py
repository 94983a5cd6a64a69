"""The data plane: values, items, and the lanes that carry them between nodes.

A lane is the live form of one edge of a pipeline: typed, ordered, bounded. Its consumer end is an
:class:`~lanemesh.lanes.inbox.inbox.Edge` of an inbox; its producer end is a :class:`~lanemesh.lanes.transport.sender.LaneSender`, of
which there are two: over memory and over gRPC.
"""
