"""`lanemesh conformance`: tests a node server over the wire, as its orchestrator and as its neighbours, by the rules of
docs/protocol.md."""
