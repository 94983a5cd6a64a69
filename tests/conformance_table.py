"""The pytest plugin behind `make conformance`: which promised behaviours have tests, and whether they hold.

A test that shows a behaviour of docs/conformance.md carries `@pytest.mark.conformance("ID")`, with several ids if it
shows several. With `--conformance` a table of ids, tests and results ends the run, and a required id without a passing
test fails it. A mark with an id that the page does not have is an error with or without the option.

The tests may be run by several processes: a test carries its ids in its reports.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"

PROPERTY = "conformance"
"""Name under which the reports of a test carry the ids of the behaviours that it shows."""

_ROW = re.compile(r"^- (?P<id>[A-Z]+-\d+) \*\*(?P<status>required|planned)\*\* (?P<text>.+)$", re.MULTILINE)


class Standing(StrEnum):
    """What the tests of one behaviour say, taken together."""

    HOLDS = "holds"
    FAILS = "FAILS"
    SKIPPED = "skipped"
    UNTESTED = "no test"


@dataclass(kw_only=True)
class Behaviour:
    """One line of the page, with what the tests that show it came to."""

    id: str
    required: bool
    """Whether a run without a passing test of it fails."""
    text: str
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    """Node ids of the tests that failed, or broke while being set up or torn down."""

    @property
    def on_containers(self) -> bool:
        """Whether `make containers` shows a part of it, which these tests do not."""
        return self.text.startswith("(C) ")

    @property
    def standing(self) -> Standing:
        """One failing test outweighs any number of passing ones."""
        if self.failed:
            return Standing.FAILS
        if self.passed:
            return Standing.HOLDS
        return Standing.SKIPPED if self.skipped else Standing.UNTESTED

    @property
    def missed(self) -> bool:
        """Whether this behaviour fails a run with `--conformance`."""
        return self.standing is Standing.FAILS or (self.required and self.standing is not Standing.HOLDS)


def read_page(text: str) -> dict[str, Behaviour]:
    """The behaviours of the page by id, in its order; ValueError if an id stands there twice."""
    behaviours: dict[str, Behaviour] = {}
    for row in _ROW.finditer(text):
        if row["id"] in behaviours:
            raise ValueError(f"docs/conformance.md lists {row['id']} twice")
        behaviours[row["id"]] = Behaviour(id=row["id"], required=row["status"] == "required", text=row["text"])
    return behaviours


def table(behaviours: Mapping[str, Behaviour]) -> Iterator[str]:
    """The lines of the table; planned behaviours without a test are only counted."""
    shown = [b for b in behaviours.values() if b.required or b.standing is not Standing.UNTESTED]
    yield f"{'id':<9} {'':<9} {'tests':>5}  {'result':<8} behaviour"
    for b in shown:
        tests = b.passed + b.skipped + len(b.failed)
        status = "required" if b.required else "planned"
        yield f"{b.id:<9} {status:<9} {tests:>5}  {b.standing:<8} {b.text[:72]}{'…' if len(b.text) > 72 else ''}"
        yield from (f"{'':<27}{test}" for test in b.failed)
    required = [b for b in behaviours.values() if b.required]
    holding = sum(not b.missed for b in required)
    yield ""
    on_containers = [b.id for b in shown if b.on_containers]
    if on_containers:
        yield f"shown by `make containers` in part, which is not counted here: {', '.join(on_containers)}"
    untested = len(behaviours) - len(shown)
    yield f"{holding} of {len(required)} required behaviours hold; {untested} planned ones have no test yet"


class ConformanceTable:
    """Collects the marks and results of a pytest run."""

    def __init__(self, behaviours: dict[str, Behaviour], config: pytest.Config) -> None:
        self._behaviours = behaviours
        self._config = config

    @property
    def missed(self) -> list[Behaviour]:
        """The behaviours that fail the run."""
        return [b for b in self._behaviours.values() if b.missed]

    # While a module is collected, so that a mistyped id is an error of the module, whatever is run and by whichever process.
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        for behaviour_id in _shown_by(metafunc.definition):
            if behaviour_id not in self._behaviours:
                raise pytest.Collector.CollectError(
                    f"{metafunc.definition.name} shows {behaviour_id!r}, which docs/conformance.md does not list"
                )

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        item.user_properties += [(PROPERTY, behaviour_id) for behaviour_id in _shown_by(item)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, behaviour_id in report.user_properties:
            if name == PROPERTY:
                self._count(self._behaviours[str(behaviour_id)], report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._config.getoption("conformance"):
            return
        terminalreporter.section("conformance")
        for line in table(self._behaviours):
            terminalreporter.write_line(line)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if hasattr(self._config, "workerinput") or self._config.getoption("collectonly"):
            return
        wanted = self._config.getoption("conformance")
        if wanted and self.missed and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @staticmethod
    def _count(behaviour: Behaviour, report: pytest.TestReport) -> None:
        if report.failed:
            behaviour.failed.append(report.nodeid)
        elif report.skipped:
            behaviour.skipped += 1
        elif report.when == "call":
            behaviour.passed += 1


def _shown_by(item: pytest.Item) -> list[str]:
    """Ids of the behaviours that a test shows, by its marks."""
    return [behaviour_id for mark in item.iter_markers("conformance") for behaviour_id in mark.args]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance",
        action="store_true",
        help="print the table of docs/conformance.md, and fail if a required behaviour has no passing test",
    )


def pytest_configure(config: pytest.Config) -> None:
    behaviours = read_page(PAGE.read_text(encoding="utf-8"))
    config.pluginmanager.register(ConformanceTable(behaviours, config), "conformance-table")
