"""The consumer side of lanes: one inbox per node, one edge per lane, one buffer per port."""
