"""What the README and the pages of docs/ tell readers to paste works, and prints what they show."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import heavy
from pages import ROOT, Block, Reader, blocks, differs
from rigs.commands import make_shim

PASTED = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*PASTED, ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md"]


def marks(page: Path) -> list[pytest.MarkDecorator]:
    """The mark of a page whose blocks need libraries of the catalogue."""
    return [pytest.mark.heavy] if page.parent.name == "nodes" and page.stem in heavy.FAMILIES else []


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Someone in a clone, after `make demo`. Commands are forked processes, and new ones in `make many`."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "examples", clone / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    make_shim(tmp_path)
    reader = Reader(clone, tmp_path)
    try:
        yield reader
    finally:
        reader.leave()


@pytest.mark.many
@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [pytest.param(page, marks=marks(page), id=page.name) for page in PASTED])
def test_the_blocks_of_a_page_work_one_after_the_other(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        reader.paste(block)


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))

    for page in PAGES:
        for block in blocks(page):
            assert set(re.findall(r"\bmake ([a-z-]+)", block.text)) <= targets, block.where


def test_every_link_of_a_page_leads_to_a_file() -> None:
    for page in PAGES:
        prose = re.sub(
            r"(?s)```.*?```|`[^`\n]+`", "", page.read_text(encoding="utf-8")
        )  # a call such as `tools["a"](b)` is no link
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    ("info", "shown", "printed", "same"),
    [
        ("text", "HELLO\n", "HELLO\n", True),
        ("text", "HELLO\n", "HELLO\nthere\n", False),
        ("text", "1 of 2\n", "1 of 3\n", False),
        ("text", "one\n...\nfour\n", "one\ntwo\nthree\nfour\n", True),
        ("text", "one\n...\n", "one\n", False),
        ("console", "pid 17 took 0.2 s\n", "pid 4711 took 12 s\n", True),
        ("console", "pid 17\n", "process 17\n", False),
        ("console", "before\nThe sky ...\n\nafter 1 s\n", "before\nIt is\n\nblue.\n\nafter 2 s\n", True),
    ],
)
def test_what_is_shown_is_compared_with_what_is_printed(info: str, shown: str, printed: str, same: bool) -> None:
    assert (differs(Block("page:1", info, shown), printed) == "") is same
