"""What docs/nodes/search.md shows works."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages import ROOT, Reader, blocks

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def test_the_blocks_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        for block in blocks(ROOT / "docs" / "nodes" / "search.md"):
            reader.paste(block)
    finally:
        reader.leave()
