"""Runs the checks, and what came of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import grpc.aio

from lanemesh_orchestrator.conformance.checks import (
    CHECK_SECONDS,
    CHECKS,
    FEATURES_OF,
    LEVELS,
    REQUIRED,
    Check,
    Miss,
    Skip,
)
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.suite import SUITE

TOGETHER = 8
"""How many checks run at the same time."""


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    MISSED = "missed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one check."""

    check: Check
    verdict: Verdict
    detail: str = ""
    """Why it was skipped."""
    expected: str = ""
    """What the rule demands, if it was missed."""
    came: str = ""
    """What the server did instead."""


def selected(
    features: Collection[str], *, level: str | None = None, only: Collection[str] = (), slow: bool = True
) -> list[tuple[Check, str]]:
    """The checks to run, each with the reason to skip it; empty: it runs.

    Args:
        features: those of the server under test.
        level: the highest level; None: those that the server reports.
        only: ids of checks, or beginnings of ids; empty: all.
        slow: whether checks run that wait for the long time limits of the protocol.
    """
    highest = LEVELS.index(level) if level is not None else len(LEVELS) - 1
    found: list[tuple[Check, str]] = []
    for check in CHECKS:
        if only and not any(check.id.startswith(one) for one in only):
            continue
        if LEVELS.index(check.level) > highest:
            continue
        wanted = [check.feature] if check.feature else list(FEATURES_OF.get(check.level, ()))
        missing = [feature for feature in wanted if feature not in features]
        reason = ""
        if missing and (level is None or check.level in REQUIRED):
            reason = f"the server does not report the feature {' and '.join(missing)}"
        elif check.slow and not slow:
            reason = "it takes 10 s or more"
        found.append((check, reason))
    return found


async def run_checks(
    address: str,
    *,
    level: str | None = None,
    only: Collection[str] = (),
    slow: bool = True,
    listen: str = "127.0.0.1",
    on_result: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Runs the checks against the node server at an address.

    Args:
        address: of the server under test, "host:port".
        level: the highest level; None: those that the server reports.
        only: ids of checks, or beginnings of ids; empty: all.
        slow: whether checks run that wait for the long time limits of the protocol.
        listen: the host at which the server under test reaches the driver.
        on_result: called with each result, in the order in which the checks end.

    Returns:
        The results, in the order of the checks.

    Raises:
        AioRpcError: the server cannot be reached, or does not implement Describe.
    """
    assert SUITE
    driver = Driver(address, listen=listen)
    try:
        await driver.start()
        limit = asyncio.Semaphore(TOGETHER)

        async def run(check: Check, reason: str) -> Result:
            async with limit:
                result = await _result(driver.for_check(), check, reason)
            on_result(result)
            return result

        chosen = selected(driver.features, level=level, only=only, slow=slow)
        return list(await asyncio.gather(*(run(check, reason) for check, reason in chosen)))
    finally:
        await driver.close()


async def _result(driver: Driver, check: Check, reason: str) -> Result:
    if reason:
        return Result(check=check, verdict=Verdict.SKIPPED, detail=reason)
    try:
        async with asyncio.timeout(CHECK_SECONDS * (2 if check.slow else 1)):
            await check.body(driver)
    except Miss as miss:
        return Result(check=check, verdict=Verdict.MISSED, expected=miss.expected, came=miss.came)
    except Skip as skip:
        return Result(check=check, verdict=Verdict.SKIPPED, detail=str(skip))
    except TimeoutError:
        came = f"no end of the check within {CHECK_SECONDS:g} s"
        return Result(check=check, verdict=Verdict.MISSED, expected=check.what, came=came)
    except grpc.aio.AioRpcError as error:
        came = f"{error.code().name}: {error.details()}"
        return Result(check=check, verdict=Verdict.MISSED, expected=check.what, came=came)
    finally:
        await driver.end_calls()
    return Result(check=check, verdict=Verdict.PASSED)


def missed(results: Sequence[Result]) -> list[Result]:
    """The results of the checks that the server missed."""
    return [result for result in results if result.verdict is Verdict.MISSED]
