"""docs/reference.md documents every public name, with an example that the tests of pages execute."""

from __future__ import annotations

import ast

from reference_page import PAGE, PUBLIC, describe, page, sections


def test_the_page_is_that_of_the_docstrings_and_examples() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make reference` and commit the result"


def test_every_public_name_is_documented_once() -> None:
    assert sorted(name for section in sections() for name in section.names) == sorted(PUBLIC)


def test_every_public_name_has_a_description() -> None:
    assert [name for name in PUBLIC if not describe(name)[1]] == []


def test_every_public_name_occurs_in_the_example_of_its_section() -> None:
    missing = [
        (section.title, name)
        for section in sections()
        for name in section.names
        if name not in {node.id for node in ast.walk(ast.parse(section.code)) if isinstance(node, ast.Name)}
    ]

    assert missing == []


def test_every_example_shows_what_it_prints() -> None:
    assert [section.title for section in sections() if not section.printed] == []
