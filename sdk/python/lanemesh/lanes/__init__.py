"""The data plane: the lanes that carry items between nodes.

A lane is the live form of one edge of a pipeline: typed, ordered, bounded. Its consumer end is an `Edge` of an inbox
(`inbox`); its producer end is a `LaneSender` (`transport`), over memory or over gRPC. `recovery` has lanes that outlive the
loss of a peer.
"""
