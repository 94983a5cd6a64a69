"""The collection that searches are judged by: 200 passages of plain facts, and 50 questions with the passage that answers each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "data" / "search"


@cache
def passages() -> list[str]:
    """The passages."""
    return (FOLDER / "passages.txt").read_text(encoding="utf-8").splitlines()


@cache
def questions() -> list[tuple[str, int]]:
    """The questions, each with the number of its passage, from 0."""
    asked = []
    for line in (FOLDER / "questions.tsv").read_text(encoding="utf-8").splitlines():
        question, part = line.split("\t")
        (number,) = [number for number, passage in enumerate(passages()) if part in passage]
        asked.append((question, number))
    return asked
