"""Random pipelines: the same by the same seed, valid, and with everything in them that there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from lanemesh.client.specs import run_spec
from lanemesh_orchestrator.orchestrator import Orchestrator

from graphs.generate import MAX_COMPONENTS, Features, generate
from graphs.shapes import RUN_PROVIDERS, SOURCES, Graph
from repeats import times
from rigs.graph_nodes import BODIES, SIGNATURES
from rigs.graphs import NODES

SEEDS = range(1000)


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    return [generate(seed) for seed in SEEDS]


def test_a_seed_makes_the_same_pipeline_again_and_others_make_others(graphs: list[Graph]) -> None:
    assert [generate(seed) for seed in SEEDS] == graphs
    assert len({str(graph.document()) for graph in graphs}) > 990


@pytest.mark.many
async def test_every_pipeline_is_valid(graphs: list[Graph]) -> None:
    runs = Orchestrator(embedded=True, nodes=[NODES]).runs
    for graph in graphs[: times(len(SEEDS), 200)]:
        runs.validate(run_spec(graph.document(), None))


def test_everything_that_there_is_is_in_some(graphs: list[Graph]) -> None:
    seen = Counter(feature for graph in graphs for feature in set(features(graph)))
    providers = (
        {f"{body}_{signature}" for body in BODIES for signature in SIGNATURES}
        | {*RUN_PROVIDERS, *SOURCES}
        | {"pieces_a", "pieces_sync_a"}
    )
    wanted = {
        *providers,
        *(f"{size} components" for size in range(1, MAX_COMPONENTS + 1)),
        *("on_any", "zip_all", "join", "a named fork"),
        *("fail", "fail late", "skip", "retry", "overlapping", "timeout", "isolated"),
        *("fan-in", "fan-out", "limit 1", "no limit", "fed", "fed nothing", "cancelled", "reconverging"),
    }
    assert wanted <= seen.keys(), wanted - seen.keys()
    rare = {feature: count for feature, count in seen.items() if count < 10 and feature in wanted - providers}
    assert not rare, rare


def features(graph: Graph) -> Iterator[str]:
    yield f"{len(graph.components)} components"
    for component in graph.components:
        yield component.provider
        yield component.mode
        if component.names_fork:
            yield "a named fork"
        if component.settings.get("fail"):
            yield "retry" if isinstance(component.on_error, int) else component.on_error
            if component.settings.get("late"):
                yield "fail late"
        if component.concurrency > 1:
            yield "overlapping"
        if component.timeout is not None:
            yield "timeout"
        if component.isolated:
            yield "isolated"
    inlets = Counter((edge.consumer, edge.input) for edge in graph.edges)
    outlets = Counter((edge.producer, edge.output) for edge in graph.edges)
    consumers = Counter((edge.producer, edge.consumer) for edge in graph.edges)
    yield from ["fan-in"] * (max(inlets.values()) > 1) + ["fan-out"] * (max(outlets.values()) > 1)
    yield from ["reconverging"] * (max(consumers.values()) > 1)
    for edge in graph.edges:
        yield "no limit" if edge.limit is None else f"limit {edge.limit}"
    if graph.fed is not None:
        yield "fed" if graph.fed else "fed nothing"
    if graph.cancel_after is not None:
        yield "cancelled"


def test_features_can_be_left_out() -> None:
    for seed in range(300):
        graph = generate(seed, Features(joins=False, policies=False, concurrency=False, stalls=False))
        assert not {"join", "skip", "retry", "overlapping"} & set(features(graph))
