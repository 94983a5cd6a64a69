"""All checks: importing this module registers them, in the order of the levels."""

from __future__ import annotations

from types import ModuleType

from lanemesh_orchestrator.conformance import (
    l0_host,
    l0_lanes,
    l0_liar,
    l0_nodes,
    l0_producer,
    l1_groups,
    l2_probes,
    l3_tags,
    l4_recovery,
    l5_preload,
    l6_fast_starts,
)

SUITE: tuple[ModuleType, ...] = (
    l0_host,
    l0_lanes,
    l0_producer,
    l0_nodes,
    l0_liar,
    l1_groups,
    l2_probes,
    l3_tags,
    l4_recovery,
    l5_preload,
    l6_fast_starts,
)
"""The modules with checks."""
