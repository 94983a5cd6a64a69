"""`lanemesh conformance`: tests a node server over the wire, and prints what it missed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanemesh_orchestrator.cli.commands.nodes import print_rich
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.hosts import check_address
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.visible import cells
from lanemesh_orchestrator.conformance import checks
from lanemesh_orchestrator.conformance.checks import CHECKS, Check
from lanemesh_orchestrator.conformance.runner import Result, Verdict, missed, run_checks
from lanemesh_orchestrator.conformance.suite import SUITE

PAGE = "docs/protocol.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceOptions:
    """The options of `conformance`."""

    address: str = ""
    """The node server; empty: the one of this package."""
    level: str | None = None
    """`--level`."""
    checks: Sequence[str] = ()
    """`--check`."""
    quick: bool = False
    """`--quick`."""
    listen: str = "127.0.0.1"
    """`--listen`."""
    json: bool = False
    """`--json`."""


def nodes_path() -> Path:
    """The file with the node types of the test in Python."""
    return Path(checks.__file__).with_name("nodes.py")


def print_nodes_file() -> ExitCode:
    """Prints that path: `lanemesh node --nodes` serves it."""
    print(nodes_path())
    return ExitCode.COMPLETED


def list_all(*, as_json: bool) -> ExitCode:
    """Prints all checks."""
    assert SUITE
    if as_json:
        print(json.dumps([_check_json(check) for check in CHECKS], indent=2))
        return ExitCode.COMPLETED
    _print_table([(check.level, check.id, check.what, check.rule) for check in CHECKS], "level", "id", "what", "rule")
    return ExitCode.COMPLETED


def conformance(options: ConformanceOptions) -> ExitCode:
    """Tests a node server. Returns FAILED if it missed a check.

    Raises:
        CommandError: the address is invalid, the server cannot be reached, or no check has such an id.
    """
    if options.address:
        check_address("ADDRESS", options.address)
    unknown = [name for name in options.checks if not any(check.id.startswith(name) for check in CHECKS)]
    if unknown:
        raise CommandError(f"There is no check {', '.join(unknown)}. `lanemesh conformance --list` lists them.")
    return asyncio.run(_main(options))


async def _main(options: ConformanceOptions) -> ExitCode:
    import grpc.aio

    with Interrupts():
        async with _tested(options.address) as address:
            try:
                results = await run_checks(
                    address,
                    level=options.level,
                    only=options.checks,
                    slow=not options.quick,
                    listen=options.listen,
                )
            except grpc.aio.AioRpcError as error:
                message = (
                    f"the node server at {address} does not answer Describe: {error.details() or error.code().name}. "
                    "Is it started, and is it a node server?"
                )
                raise CommandError(message, ExitCode.FAILED) from None
    if options.json:
        print(json.dumps(results_json(address, results), indent=2))
    else:
        print_results(results)
    return ExitCode.FAILED if missed(results) else ExitCode.COMPLETED


@contextlib.asynccontextmanager
async def _tested(address: str) -> AsyncIterator[str]:
    """The address of the server under test: the given one, or that of a server of this package, which is started meanwhile."""
    if address:
        yield address
        return
    from lanemesh.server.host.host import NodeHost
    from lanemesh.server.node_server import NodeServer
    from lanemesh.server.services import load_file

    with _quiet(
        "lanemesh", "grpc._common"
    ):  # the server logs the protocol errors that the checks make, which are expected
        server = NodeServer(NodeHost([load_file(nodes_path())], name="tested"))
        await server.start()
        try:
            yield server.address
        finally:
            await server.stop()


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Hides lines of these loggers below CRITICAL meanwhile. Their levels are restored, also for a caller in the same process."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def print_results(results: Sequence[Result]) -> None:
    """Prints a table of the results, then what each missed check expected and what came."""
    rows = [(result.check.level, result.check.id, result.check.what, _outcome(result)) for result in results]
    _print_table(rows, "level", "id", "what", "result")
    for result in missed(results):
        print(f"\n{result.check.level} {result.check.id}: {result.check.what}")
        print(f"  expected  {result.expected}")
        print(f"  came      {result.came}")
        print(f"  rule      {PAGE}, {result.check.rule}")
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"\n{summary}", file=sys.stderr)


def _outcome(result: Result) -> str:
    return f"skipped: {result.detail}" if result.verdict is Verdict.SKIPPED else str(result.verdict)


def _print_table(rows: Sequence[Sequence[str]], *columns: str) -> None:
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*cells(row))
    print_rich(table)


def results_json(address: str, results: Sequence[Result]) -> dict[str, Any]:
    """The results as JSON."""
    return {
        "address": address,
        "passed": not missed(results),
        "checks": [
            {
                **_check_json(result.check),
                "result": str(result.verdict),
                **{key: text for key in ("detail", "expected", "came") if (text := getattr(result, key))},
            }
            for result in results
        ],
    }


def _check_json(check: Check) -> dict[str, Any]:
    return {"level": check.level, "id": check.id, "what": check.what, "rule": f"{PAGE}, {check.rule}"}
