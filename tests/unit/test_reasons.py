"""Every reason stands in the enum of its package, with its meaning, and in docs/reasons.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasons_table import PACKAGES, PAGE, codes, page, uses

FOLDERS = pytest.mark.parametrize("package", PACKAGES.values(), ids=["sdk", "orchestrator", "services"])


@FOLDERS
def test_every_reason_that_is_used_is_in_the_enum(package: Path) -> None:
    known = {code.name for code in codes(package)}
    assert [(reason, place) for reason, place in uses(package).reasons if reason not in known] == []


@FOLDERS
def test_every_reason_of_the_enum_is_used_and_explained(package: Path) -> None:
    there = uses(package).texts
    assert [code.name for code in codes(package) if code.name not in there] == []
    assert [code.name for code in codes(package) if not code.text.endswith(".")] == []
    names = [code.name for code in codes(package)]
    assert len(names) == len(set(names))


def test_the_page_is_that_of_the_enums() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make reasons` and commit the result"
