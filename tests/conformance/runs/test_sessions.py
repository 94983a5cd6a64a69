"""The session of a run: its nodes know it, and nothing else of the run contains it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh import Client, Deployed, LanemeshError
from lanemesh.client.run_host import RunHost
from lanemesh.client.run_reader import wire_updates
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from endings import end, lasting
from rigs import session_nodes
from rigs.runs import chat, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODES = Path(session_nodes.__file__)
ASKED = pipeline(chat(), node("a", "teller", "chat"), node("b", "isolated_teller", "a"), response("b"))
ID = "conversation é 1"


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["embedded", "spread", "client"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[RunHost]:
    """Meshes within this process, of several processes, and reached by a client."""
    if request.param == "client":
        orchestrator = Orchestrator(embedded=True, nodes=[NODES])
        await orchestrator.listen()
        try:
            async with lasting("the client", Client(orchestrator.address)) as client:
                yield client
        finally:
            await end("the orchestrator", orchestrator.close())
    else:
        kind: Any = "component" if request.param == "spread" else None
        async with lasting("the mesh", Mesh(kind, nodes=[NODES])) as mesh:
            yield mesh


async def test_nodes_know_the_session_of_every_kind_of_run(host: RunHost) -> None:
    told = (f"x {ID} {ID}",)

    assert (await host.run(ASKED, input="x", session=ID).result()).values == told
    assert (await host.request(ASKED, "x", session=ID).all()).values == told
    detached = await host.start(ASKED, input="x", session=ID)
    assert (await detached.result()).values == told
    assert (await host.run(ASKED, input="x").result()).values == ("x  ",)


async def test_the_runs_of_a_deployed_pipeline_have_sessions_of_their_own(host: RunHost) -> None:
    await host.deploy("asked", ASKED)

    for session in ("one", "two", ""):
        result = await host.run(Deployed("asked"), input="x", session=session).result()
        assert result.values == (f"x {session} {session}",)


async def test_no_update_and_no_record_has_the_session(host: RunHost) -> None:
    silent = pipeline(chat(), node("a", "teller", "chat"), response("chat"))
    run = host.run(silent, input="x", session="never-seen-s3ssion", trace="full")

    updates = [update async for update in wire_updates(run)]

    seen = [str(update) for update in updates]
    assert [text for text in seen if "never-seen" in text] == []
    assert "never-seen" not in str(await host.record(run.id))


@pytest.mark.parametrize(
    ("session", "why"), [("s" * 129, "1 to 128 characters, not 129"), ("a\nb", "control character")]
)
async def test_error_a_session_that_is_not_allowed(host: RunHost, session: str, why: str) -> None:
    with pytest.raises(LanemeshError, match=f"the id of a session .*{why}") as caught:
        await host.run(ASKED, input="x", session=session).result()

    assert caught.value.fault.reason == "bad-session"
