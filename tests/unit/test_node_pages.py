"""docs/nodes has a page for each service, whose generated part is that of the manifests."""

from __future__ import annotations

import pytest

from node_pages import BEGIN, END, FOLDER, INDEX, families, pages

FAMILIES = families()


@pytest.mark.parametrize("file", [*(f"{name}.md" for name in FAMILIES), INDEX.name])
def test_a_page_is_that_of_the_manifests(file: str) -> None:
    path = FOLDER / file
    assert path.read_text(encoding="utf-8") == pages()[path], "run `make node-pages` and commit the result"


def test_there_are_no_pages_of_services_that_do_not_exist() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {*FAMILIES, INDEX.stem}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_page_has_its_node_types_once(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert [text.count(f"\n## `{node.provider}`\n") for node in FAMILIES[name].nodes] == [1] * len(FAMILIES[name].nodes)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_setting_has_a_meaning(name: str) -> None:
    missing = [
        f"{node.provider}.{setting}"
        for node in FAMILIES[name].nodes
        for setting, about in node.Config.model_json_schema().get("properties", {}).items()
        if not about.get("description")
    ]
    assert not missing
