"""How commands find the run that they are given."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from lanemesh.client.records import RunRecord
from lanemesh.client.updates import RunState
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh_orchestrator.cli.commands.runs import find
from lanemesh_orchestrator.cli.exits import CommandError

FIRST, SECOND = "run-0123456789ab", "run-0123456789cd"


def record(run_id: str) -> RunRecord:
    return RunRecord(run_id=run_id, state=RunState.RUNNING, created_at=datetime.now(UTC))


class Runs:
    """A mesh with runs, for a token that permits to list them, or does not."""

    def __init__(self, *ids: str, lists: bool = True) -> None:
        self._ids, self._lists = ids, lists

    async def runs(self, *, limit: int) -> list[RunRecord]:
        if not self._lists:
            raise LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="scope-missing", message="needs watch"))
        return [record(run_id) for run_id in self._ids][:limit]

    async def record(self, run_id: str) -> RunRecord:
        if run_id not in self._ids:
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-run", message=f"there is no {run_id}"))
        return record(run_id)


@pytest.mark.parametrize("given", [FIRST, FIRST.removeprefix("run-")])
async def test_a_whole_id_needs_no_list(given: str) -> None:
    assert (await find(Runs(FIRST, lists=False), given)).run_id == FIRST  # type: ignore[arg-type]
    with pytest.raises(LanemeshError, match="there is no"):
        await find(Runs(SECOND, lists=False), given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [SECOND[:-1], SECOND[4:-1]])
async def test_the_beginning_of_an_id_is_searched(given: str) -> None:
    mesh = Runs(FIRST, SECOND)

    assert (await find(mesh, given)).run_id == SECOND  # type: ignore[arg-type]
    assert (await find(mesh, "last")).run_id == FIRST  # type: ignore[arg-type]
    with pytest.raises(CommandError, match="2 runs begin with run-01"):
        await find(mesh, "run-01")  # type: ignore[arg-type]
    with pytest.raises(LanemeshError, match="needs watch"):
        await find(Runs(SECOND, lists=False), given)  # type: ignore[arg-type]
