"""Every node type has an example."""

from __future__ import annotations

import pytest

from node_examples import ELSEWHERE, examples, in_pipelines, names, used_in


def test_every_node_type_has_an_example_that_runs() -> None:
    missing = {provider for provider, places in examples().items() if not places}
    assert missing == ELSEWHERE, "python tests/node_examples.py shows where the others are used"


def test_every_node_type_is_in_a_pipeline_of_the_examples() -> None:
    assert set(names().values()) - in_pipelines() == set()


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ('cut = pipeline.add("splitter", size=100)', ["splitter"]),
        ('run_node(VideoMux, config={"rate": 10}, frames=frames)', ["VideoMux"]),
        ('document = {"components": [{"id": "a", "provider": "timer"}]}', ["timer"]),
        ('print("cache", {"id": "timer"}, VideoMux)', []),
    ],
)
def test_a_block_uses_what_it_adds_runs_or_names_as_a_provider(code: str, used: list[str]) -> None:
    assert list(used_in(code)) == used
