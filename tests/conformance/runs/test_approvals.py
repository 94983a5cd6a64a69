"""Approvals: a node waits for the decision of a client, in one process and over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh import ApprovalState, ApprovalUpdate, LanemeshError, OutputUpdate, SyncMesh
from lanemesh_orchestrator import Mesh

from endings import lasting
from rigs.runs import chat, line, node, pipeline, response

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

NODES = Path(__file__).parents[2] / "rigs" / "approval_nodes.py"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spread_approvals() -> AsyncIterator[Mesh]:
    async with lasting("the spread mesh", Mesh("component", nodes=[NODES])) as mesh:
        yield mesh


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def embedded_approvals() -> AsyncIterator[Mesh]:
    async with lasting("the embedded mesh", Mesh(nodes=[NODES])) as mesh:
        yield mesh


@pytest.fixture(params=["embedded", "spread"])
def asking_mesh(request: pytest.FixtureRequest) -> Mesh:
    found: Mesh = request.getfixturevalue(f"{request.param}_approvals")
    return found


def asking(**config: Any) -> dict[str, Any]:
    """A node that asks for an approval of each text."""
    return line(node("a", "careful", "chat", **config))


async def next_approval(updates: Any) -> ApprovalUpdate:
    async for update in updates:
        if isinstance(update, ApprovalUpdate):
            return update
    raise AssertionError("the run has ended without an approval")


async def rest_of(updates: Any) -> list[Any]:
    return [update async for update in updates if isinstance(update, ApprovalUpdate | OutputUpdate)]


async def test_an_approved_call_goes_on(asking_mesh: Mesh) -> None:
    async with asking_mesh.run(asking(), input="ada") as run, aclosing(run.updates()) as updates:
        request = await next_approval(updates)
        assert (request.component, request.call_id, request.tool) == ("a", "c1", "mail.send")
        assert request.state is ApprovalState.REQUESTED
        assert request.description == "send ada"
        assert '"to": "ada"' in request.arguments
        assert request.deadline is not None
        assert [one.call_id for one in (await asking_mesh.record(run.id)).approvals] == ["c1"]
        await run.approve("c1")
        decided, output = await rest_of(updates)
        assert (decided.state, decided.call_id, decided.tool) == (ApprovalState.APPROVED, "c1", "mail.send")
        assert output.value == "approved"


async def test_a_refusal_has_its_reason(asking_mesh: Mesh) -> None:
    async with asking_mesh.run(asking(), input="ada") as run, aclosing(run.updates()) as updates:
        await next_approval(updates)
        await asking_mesh.refuse(run.id, "c1", "not today", component="a")
        decided, output = await rest_of(updates)
        assert (decided.state, decided.reason) == (ApprovalState.REFUSED, "not today")
        assert output.value == "refused: not today"


async def test_the_deadline_refuses(asking_mesh: Mesh) -> None:
    requested, refused, output = await rest_of(asking_mesh.run(asking(timeout=0.05), input="ada").updates())
    assert (requested.state, refused.state) == (ApprovalState.REQUESTED, ApprovalState.REFUSED)
    assert output.value == f"refused: {refused.reason}" == "refused: no decision within 0.05 s"


async def test_unknown_and_decided_approvals_are_errors(asking_mesh: Mesh) -> None:
    async with asking_mesh.run(asking(), inputs=["ada", "bob"]) as run, aclosing(run.updates()) as updates:
        await next_approval(updates)
        with pytest.raises(LanemeshError) as unknown:
            await run.approve("c7")
        assert unknown.value.fault.reason == "unknown-approval"
        await run.approve("c1")
        with pytest.raises(LanemeshError) as decided:
            await run.refuse("c1")
        assert decided.value.fault.reason == "approval-decided"
        assert (await next_approval(updates)).state is ApprovalState.APPROVED
        second = await next_approval(updates)
        assert second.call_id == "c1-2"  # a late decision about the first one does not concern it
        await run.approve(second.call_id)
        assert [one.value for one in await rest_of(updates) if isinstance(one, OutputUpdate)][-1] == "approved"
    with pytest.raises(LanemeshError) as ended:
        await asking_mesh.approve(run.id, "c1")
    assert ended.value.fault.reason == "run-ended"


async def test_a_cancelled_run_withdraws_its_approvals(asking_mesh: Mesh) -> None:
    async with asking_mesh.run(asking(), input="ada") as run, aclosing(run.updates()) as updates:
        await next_approval(updates)
        await run.cancel("enough")
        assert [one.state for one in await rest_of(updates)] == [ApprovalState.WITHDRAWN]
    assert run.state == "cancelled"


async def test_two_components_may_use_one_id(asking_mesh: Mesh) -> None:
    document = pipeline(chat(), node("a", "careful", "chat"), node("b", "careful", "chat"), response("a", "b"))
    async with asking_mesh.run(document, input="ada") as run, aclosing(run.updates()) as updates:
        assert {(await next_approval(updates)).component for _ in range(2)} == {"a", "b"}
        with pytest.raises(LanemeshError) as several:
            await run.approve("c1")
        assert several.value.fault.reason == "several-approvals"
        await run.approve("c1", component="b")
        await run.refuse("c1", "no", component="a")
        outputs = {one.value for one in await rest_of(updates) if isinstance(one, OutputUpdate)}
    assert outputs == {"approved", "refused: no"}


async def test_secrets_are_hidden_in_arguments(asking_mesh: Mesh) -> None:
    document = asking(secret="${LM_MAIL_KEY}")
    run = asking_mesh.run(document, input="ada", variables={"LM_MAIL_KEY": "sk-very-secret"})
    async with run, aclosing(run.updates()) as updates:
        request = await next_approval(updates)
        assert "sk-very-secret" not in request.arguments
        await run.approve("c1")
        await rest_of(updates)


@pytest.mark.parametrize("owner", ["a", "other"])
@pytest.mark.parametrize("characters", [5_000, 100_000])
async def test_secrets_are_hidden_before_long_arguments_are_shortened(
    asking_mesh: Mesh, owner: str, characters: int
) -> None:
    secret = "sk-very-secret-and-long"
    first = node("a", "careful", "chat", **({"secret": "${LM_MAIL_KEY}"} if owner == "a" else {}))
    other = node(
        "other", "careful", "chat", call_id="other", **({"secret": "${LM_MAIL_KEY}"} if owner == "other" else {})
    )
    document = pipeline(chat(), first, other, response("a", "other"))
    text = "x" * 980 + secret + "y" * (4_000 - len('{"to": "') - 990 - len(secret)) + secret + "z" * characters
    run = asking_mesh.run(document, input=text, variables={"LM_MAIL_KEY": secret})
    async with run, aclosing(run.updates()) as updates:
        async for update in updates:
            if not isinstance(update, ApprovalUpdate) or update.state is not ApprovalState.REQUESTED:
                continue
            if update.call_id == "c1":
                shown, _, mark = update.arguments.partition("... (")
                assert len(shown) == 4_000
                assert (shown.count("***"), "sk-" in update.arguments) == (2, False)
                assert characters - 50 < update.omitted_characters < characters + 50
                assert mark == f"{update.omitted_characters:,} more characters)"
                assert len(update.description) < 1_050
                assert update.description.endswith(" more characters)")
                assert "sk-" not in update.description
            await run.approve(update.call_id)
    assert run.state == "completed"


async def test_a_detached_run_is_decided_by_any_client(tmp_path: Path) -> None:
    async with Mesh(nodes=[NODES], store=tmp_path / "runs.db") as mesh:
        run = await mesh.start(asking(), input="ada")
        async with aclosing(run.updates()) as updates:
            await next_approval(updates)
            assert [one.tool for one in (await mesh.record(run.id)).approvals] == ["mail.send"]
            await mesh.attach(run.id).approve("c1")
            assert [one.value for one in await rest_of(updates) if isinstance(one, OutputUpdate)] == ["approved"]
        assert (await mesh.record(run.id)).approvals == ()
        stored = [one async for one in mesh.attach(run.id).updates() if isinstance(one, ApprovalUpdate)]
        assert [one.state for one in stored] == ["requested", "approved"]


async def test_synchronous_callers_decide_too() -> None:
    def decide() -> list[Any]:
        with SyncMesh(nodes=[NODES]) as mesh, mesh.run(asking(), input="ada") as run:
            found = []
            for update in run.updates():
                if isinstance(update, ApprovalUpdate) and update.state is ApprovalState.REQUESTED:
                    mesh.refuse(run.id, update.call_id, "no")
                if isinstance(update, OutputUpdate):
                    found.append(update.value)
            return found

    assert await asyncio.to_thread(decide) == ["refused: no"]
