"""The graphs of documents that are run again."""

from __future__ import annotations

import pytest
from lanemesh.v1 import run_pb2
from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.runs import recent_graphs
from lanemesh_orchestrator.runs.recent_graphs import RecentGraphs

DOCUMENT = '{"components": []}'


class Reader:
    """Counts what it reads."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Graph:
        self.count += 1
        return Graph(components={}, edges=(), controls=())


def spec(text: str = DOCUMENT, **fields: object) -> run_pb2.RunSpec:
    return run_pb2.RunSpec(pipeline_json=text, **fields)  # type: ignore[arg-type]


def test_a_spec_is_read_once_until_node_types_change() -> None:
    graphs, read = RecentGraphs(), Reader()
    first = graphs.get(spec(), 1, read)
    assert graphs.get(spec(), 1, read) is first
    assert graphs.get(spec(settings_json={"a.b": "1"}), 1, read) is not first
    assert read.count == 2
    assert graphs.get(spec(), 2, read) is not first
    assert read.count == 3


def test_a_spec_with_variables_or_of_great_size_is_always_read() -> None:
    graphs, read = RecentGraphs(), Reader()
    for one in (spec(variables={"KEY": "secret"}), spec(DOCUMENT + " " * recent_graphs.MAX_SPEC_BYTES)):
        graphs.get(one, 1, read)
        graphs.get(one, 1, read)
    assert read.count == 4


def test_the_least_recently_used_graph_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_graphs, "MAX_GRAPHS", 2)
    graphs, read = RecentGraphs(), Reader()
    for text in "abacab":  # b is dropped for c, and c for b
        graphs.get(spec(text), 1, read)
    assert read.count == 4


def test_an_error_is_raised_each_time() -> None:
    graphs = RecentGraphs()

    def fails() -> Graph:
        raise ValueError("invalid")

    for _ in range(2):
        with pytest.raises(ValueError, match="invalid"):
            graphs.get(spec(), 1, fails)
