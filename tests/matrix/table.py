"""The results of the matrix of languages as tables: clients by node servers, and lanes between two node servers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from matrix.programs import LANGUAGES

if TYPE_CHECKING:
    import pytest

WIDTH = 140
_NAME = re.compile(r"::test_(?P<what>\w+)\[(?P<first>\w+)-(?P<second>\w+)\]$")
SHOWN = {"passed": "holds", "failed": "FAILED", "error": "FAILED", "skipped": "not built"}
LANES = "lanes"

Results = Mapping[str, Mapping[tuple[str, str], str]]
"""By behaviour: by the two languages of a cell, what came out."""


def print_tables(reporter: pytest.TerminalReporter) -> None:
    """Prints a table with a row for each pair of a client and a node server, and one of producers by consumers."""
    found = results(reporter)
    console = Console(width=WIDTH, file=reporter._tw._file, highlight=False, color_system=None)
    behaviours = [what for what in found if what != LANES]
    if behaviours:
        table = Table(
            "client", "node server", *(what.replace("_", " ") for what in behaviours), title="runs of a client"
        )
        for client in LANGUAGES.values():
            for node in LANGUAGES.values():
                table.add_row(client, node, *(found[what].get((client, node), "not run") for what in behaviours))
        console.print(table)
    if LANES in found:
        table = Table("producer", *LANGUAGES.values(), title="every lane type, from producer to consumer")
        for producer in LANGUAGES.values():
            cells = [found[LANES].get((producer, consumer), "not run") for consumer in LANGUAGES.values()]
            table.add_row(producer, *cells)
        console.print(table)


def results(reporter: pytest.TerminalReporter) -> Results:
    """What came out of each test of the matrix."""
    found: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for outcome, shown in SHOWN.items():
        for report in reporter.stats.get(outcome, []):
            match = _NAME.search(report.nodeid)
            if match is not None and match["first"] in LANGUAGES and match["second"] in LANGUAGES:
                found[match["what"]][LANGUAGES[match["first"]], LANGUAGES[match["second"]]] = shown
    return found
