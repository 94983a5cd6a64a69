"""Every node type of the catalogue has an example that runs."""

from __future__ import annotations

import pytest

from node_examples import SERVICES, examples, names, used_in


def test_every_node_type_has_an_example_that_runs() -> None:
    missing = [provider for provider, places in examples().items() if not places]
    assert missing == [], "python tests/node_examples.py shows where the others are used"


def test_the_services_of_the_catalogue_have_the_node_types_of_its_pages() -> None:
    assert {"documents", "search", "speech", "pictures", "video", "flow", "file", "response"} <= set(SERVICES)
    assert len(set(names().values())) > 50


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
