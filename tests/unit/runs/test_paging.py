"""Paging of lists of runs: pages join without gaps, and a token that is none is refused in words."""

from __future__ import annotations

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2
from lanemesh_orchestrator.runs.records import MAX_PAGE_SIZE, PAGE_SIZE, SequenceTag, Wanted, page, wanted_by


class Ten:
    """Ten runs; all that `page` asks of a history."""

    async def records(self, wanted: Wanted) -> list[SequenceTag]:
        before = 11 if wanted.before is None else wanted.before
        return [(n, run_pb2.RunRecord(run_id=f"run-{n}")) for n in range(before - 1, 0, -1)][: wanted.most]


@pytest.mark.parametrize("token", ["abc", "-1", "1.5", " 1", "\u0663", "9" * 30, "9" * 5_000])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(LanemeshError, match="page token") as raised:
        wanted_by(run_pb2.ListRunsRequest(page_token=token))
    assert raised.value.fault.reason == "bad-page-token"


@pytest.mark.parametrize(("asked", "most"), [(0, PAGE_SIZE), (7, 7), (5_000, MAX_PAGE_SIZE)])
def test_a_page_has_a_bound(asked: int, most: int) -> None:
    assert wanted_by(run_pb2.ListRunsRequest(page_size=asked)).most == most


async def test_pages_join_without_gaps() -> None:
    found, request = [], run_pb2.ListRunsRequest(page_size=4)
    while True:
        got = await page(Ten(), request)  # type: ignore[arg-type]
        found += [record.run_id for record in got.runs]
        request.page_token = got.next_page_token
        if not request.page_token:
            break
    assert found == [f"run-{n}" for n in range(10, 0, -1)]
