"""Sessions that the orchestrator keeps: turns, histories, forks, owners, limits, in memory and in a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client, Conversation, LanemeshError, Message, Question, RunState, SyncMesh
from lanemesh.client.run_host import RunHost
from lanemesh.v1 import session_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.sessions import records
from lanemesh_orchestrator.store.options import StoreOptions
from lanemesh_orchestrator.store.sessions import StoredSessions

NODES = Path(__file__).parents[2] / "rigs" / "talking_nodes.py"
TALK: dict[str, Any] = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "recall_1", "provider": "recall", "input": [{"lane": "questions", "from": "chat_1"}]},
        {
            "id": "response_1",
            "provider": "response",
            "config": {"lane": "answers"},
            "input": [{"lane": "answers", "from": "recall_1"}],
        },
    ]
}
ECHO: dict[str, Any] = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {
            "id": "response_1",
            "provider": "response",
            "config": {"lane": "text"},
            "input": [{"lane": "text", "from": "chat_1"}],
        },
    ]
}


@pytest.fixture(params=["mesh", "client of a store"])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunHost]:
    store = str(tmp_path / "runs.sqlite") if "store" in request.param else None
    async with AsyncExitStack() as stack:
        if "mesh" in request.param:
            yield await stack.enter_async_context(Mesh(nodes=[NODES], store=store))
            return
        orchestrator = Orchestrator(
            embedded=True, nodes=[NODES], store=StoreOptions(location=store) if store is not None else None
        )
        await orchestrator.listen()
        stack.push_async_callback(orchestrator.close)
        yield await stack.enter_async_context(Client(orchestrator.address))


async def test_each_turn_gets_the_earlier_ones(host: RunHost) -> None:
    session = host.session(TALK)
    assert await session.request("one").text() == "now:one"
    assert await session.request("two").text() == "user:one|assistant:now:one|now:two"
    run = await session.start("three")
    await run.result()

    turns = await session.turns()
    assert [(turn.number, turn.question.text, turn.state) for turn in turns] == [
        (1, "one", RunState.COMPLETED),
        (2, "two", RunState.COMPLETED),
        (3, "three", RunState.COMPLETED),
    ]
    assert turns[0].answer.text == "now:one"
    assert turns[0].answer.finish_reason == "stop"
    assert turns[2].run_id == run.id
    assert all(turn.ended_at is not None and not turn.truncated for turn in turns)
    info = await session.info()
    assert (info.id, info.title, info.last_turn, info.deployment) == (session.id, "one", 3, "")
    assert (await host.session_of_run(run.id)).id == session.id


async def test_a_session_goes_on_by_its_id(host: RunHost) -> None:
    await host.deploy("talk", TALK)
    first = host.session("@talk")
    await first.request("one").all()
    again = host.session("@talk", first.id)
    assert await again.request("two").text() == "user:one|assistant:now:one|now:two"
    assert [one.id for one in await host.sessions("talk")] == [first.id]
    assert await host.sessions("other") == []


async def test_failed_and_cancelled_turns_are_kept_and_are_in_no_history(host: RunHost) -> None:
    session = host.session(TALK)
    result = await session.run("fail").result()
    assert result.state is RunState.FAILED
    assert await session.request("two").text() == "now:two"
    assert [turn.state for turn in await session.turns()] == [RunState.FAILED, RunState.COMPLETED]


async def test_a_question_with_a_history_keeps_it(host: RunHost) -> None:
    session = host.session(TALK)
    await session.request("one").all()
    question = Question("two", history=(Message("user", "mine"),))
    assert await session.request(question).text() == "user:mine|now:two"
    assert (await session.turns())[1].question.history == ()


async def test_text_without_questions_is_kept(host: RunHost) -> None:
    session = host.session(ECHO)
    await session.request("one").all()
    assert await session.request("two").text() == "two"
    assert [turn.answer.text for turn in await session.turns()] == ["one", "two"]


async def test_the_history_is_bounded(host: RunHost) -> None:
    session = host.session(TALK, history_turns=1)
    for text in ("one", "two"):
        await session.request(text).all()
    assert await session.request("three").text() == "user:two|assistant:user:one|assistant:now:one|now:two|now:three"
    narrow = host.session(TALK, session.id, history_bytes=1)
    assert await narrow.request("four").text() == "now:four"
    with pytest.raises(ValueError, match="greater than 0"):
        host.session(TALK, history_turns=0).request("x")


async def test_a_fork_has_the_first_turns_and_goes_its_own_way(host: RunHost) -> None:
    session = host.session(TALK)
    for text in ("one", "two"):
        await session.request(text).all()
    fork = await session.fork(1)
    assert await fork.request("other").text() == "user:one|assistant:now:one|now:other"
    assert [turn.question.text for turn in await session.turns()] == ["one", "two"]
    assert [turn.question.text for turn in await fork.turns()] == ["one", "other"]
    with pytest.raises(LanemeshError) as caught:
        await session.fork(7)
    assert caught.value.fault.reason == "unknown-turn"
    with pytest.raises(LanemeshError) as caught:
        await session.fork(id=fork.id)
    assert caught.value.fault.reason == "session-exists"


async def test_only_its_owner_sees_a_session(host: RunHost) -> None:
    session = host.session(TALK, owner="ann")
    await session.request("one").all()
    assert await host.sessions() == []
    assert [one.id for one in await host.sessions(owner="ann")] == [session.id]
    other = host.session(TALK, session.id, owner="bob")
    for call in (other.info, other.turns, other.fork, other.delete, other.request("two").all):
        with pytest.raises(LanemeshError) as caught:
            await call()
        assert caught.value.fault.reason == "unknown-session"


async def test_a_deleted_session_is_unknown_and_begins_anew(host: RunHost) -> None:
    session = host.session(TALK)
    with pytest.raises(LanemeshError) as caught:
        await session.info()
    assert caught.value.fault.reason == "unknown-session"
    await session.request("one").all()
    await session.delete()
    assert await host.sessions() == []
    assert await session.request("two").text() == "now:two"


async def test_a_session_is_for_one_pipeline(host: RunHost) -> None:
    await host.deploy("talk", TALK)
    session = host.session("@talk")
    await session.request("one").all()
    with pytest.raises(LanemeshError) as caught:
        await host.session(ECHO, session.id).request("two").all()
    assert caught.value.fault.reason == "other-pipeline"


@pytest.mark.parametrize(
    "conversation",
    [
        Conversation(id=""),
        Conversation(id="x" * 129),
        Conversation(id="a\nb"),
        Conversation(id="a", owner="o" * 129),
        Conversation(id="a", history_turns=1_001),
        Conversation(id="a", history_bytes=2**20 + 1),
        Conversation(id="a", time_to_live=0),
        Conversation(id="a", time_to_live=366 * 86_400.0),
    ],
)
async def test_bad_conversations_are_rejected(conversation: Conversation) -> None:
    async with Mesh(nodes=[NODES]) as mesh:
        with pytest.raises(LanemeshError) as caught:
            await mesh.request(TALK, "x", session=conversation).all()
        assert caught.value.fault.reason == "bad-session"


async def test_sessions_are_listed_in_pages_the_last_used_first(host: RunHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh.client.sessions.PAGE", 2)
    sessions = [host.session(TALK) for _ in range(5)]
    for session in (*sessions, sessions[0]):
        await session.request("hello").all()
    listed = [one.id for one in await host.sessions()]
    assert listed == [sessions[number].id for number in (0, 4, 3, 2, 1)]
    assert [one.id for one in await host.sessions(limit=3)] == listed[:3]


class LateSessions(records.MemorySessions):
    """Writes each turn after many turns of the event loop, as a busy database does."""

    async def begin_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        await passes()
        await super().begin_turn(session, turn)

    async def end_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        await passes()
        await super().end_turn(session, turn)


async def passes() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_a_list_has_the_turns_of_all_runs_that_have_ended() -> None:
    async with Mesh(nodes=[NODES]) as mesh:
        mesh.orchestrator.runs.session_store = LateSessions()
        first, second = mesh.session(TALK), mesh.session(TALK)
        await first.request("one").all()
        assert [one.id for one in await mesh.sessions()] == [first.id]
        await second.request("two").all()
        await first.request("three").all()
        assert [(one.id, one.last_turn) for one in await mesh.sessions()] == [(first.id, 2), (second.id, 1)]


async def test_an_expired_session_is_gone(host: RunHost) -> None:
    session = host.session(TALK, time_to_live=1e-9)
    await session.request("one").all()
    assert await session.request("two").text() == "now:two"
    assert await host.sessions() == []
    await host.session(TALK, session.id).request("three").all()
    assert [turn.question.text for turn in await host.session(TALK, session.id).turns()] == ["three"]


async def test_the_turns_of_a_session_are_bounded(host: RunHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sessions.records", "store.sessions"):
        monkeypatch.setattr(f"lanemesh_orchestrator.{module}.MAX_TURNS", 2)
    session = host.session(ECHO)
    for text in ("one", "two", "three"):
        await session.request(text).all()
    assert [(turn.number, turn.answer.text) for turn in await session.turns()] == [(2, "two"), (3, "three")]
    for module in ("sessions.records", "store.sessions"):
        monkeypatch.setattr(f"lanemesh_orchestrator.{module}.MAX_SESSION_BYTES", 3_000)
    for number in range(4):
        await session.request(f"{number}" + 1_000 * "x").all()
    turns = await session.turns()
    assert [turn.number for turn in turns] == [7]
    assert 2_000 < (await session.info()).size_bytes < 3_000


async def test_a_long_answer_is_truncated_in_its_turn(host: RunHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh_orchestrator.sessions.conversation.MAX_ANSWER", 5)
    session = host.session(ECHO)
    assert await session.request("123456").text() == "123456"
    (turn,) = await session.turns()
    assert (turn.answer.text, turn.truncated) == ("12345", True)


async def test_the_least_recently_used_sessions_in_memory_go_first() -> None:
    store = records.MemorySessions(max_sessions=2)
    for name in ("a", "b", "a", "c"):
        session = session_pb2.Session(session_id=name)
        session.expires_at.FromNanoseconds(2**62)
        session.used_at.FromNanoseconds(1)
        await store.begin_turn(session, session_pb2.Turn(run_id=f"run of {name}"))
    assert sorted(one.session_id for one in await store.list(records.WantedSessions())) == ["a", "c"]
    assert await store.of_run("run of b") == ""
    assert [turn.number for turn in await store.turns("a")] == [1, 2]


async def test_a_session_survives_its_orchestrator(tmp_path: Path) -> None:
    store = str(tmp_path / "runs.sqlite")
    async with Mesh(nodes=[NODES], store=store) as mesh:
        session = mesh.session(TALK)
        await session.request("one").all()
    async with Mesh(nodes=[NODES], store=store) as mesh:
        again = mesh.session(TALK, session.id)
        assert await again.request("two").text() == "user:one|assistant:now:one|now:two"


def test_the_synchronous_twin_talks() -> None:
    with SyncMesh(nodes=[NODES]) as mesh:
        session = mesh.session(TALK)
        assert session.request("one").text().all() == "now:one"
        assert "".join(session.request("two").text()) == "user:one|assistant:now:one|now:two"
        assert [turn.number for turn in session.turns()] == [1, 2]
        assert session.fork(1).info().last_turn == 1
        session.delete()
        assert len(mesh.sessions()) == 1


async def test_a_history_that_is_appended_is_kept_in_its_turn(host: RunHost) -> None:
    session = Conversation(id="session-appended", append_history=True)
    await host.request(TALK, "one", session=session).text()
    seen = Question("two", history=(Message("user", "and"),))

    assert await host.request(TALK, seen, session=session).text() == "user:one|assistant:now:one|user:and|now:two"
    assert (
        await host.request(TALK, "three", session=session).text()
        == "user:one|assistant:now:one|user:and|user:two|assistant:user:one|assistant:now:one|user:and|now:two|now:three"
    )
    replaced = await host.request(TALK, seen, session=Conversation(id="session-appended")).text()
    assert replaced == "user:and|now:two"


async def test_a_session_that_was_created_meanwhile_keeps_its_owner(host: RunHost) -> None:
    name = "session-contested"
    async with host.run(
        TALK, open_input=True, session=Conversation(id=name, owner="bob")
    ) as early:  # there is no session yet
        ann = host.session(TALK, name, owner="ann")
        await ann.request("secret").all()
        await early.push("mine")
        await early.end_input()
        assert (await early.result()).state is RunState.COMPLETED
    with pytest.raises(LanemeshError) as caught:
        await host.session(TALK, name, owner="bob").turns()
    assert caught.value.fault.reason == "unknown-session"
    assert [turn.question.text for turn in await ann.turns()] == ["secret"]


async def test_a_run_of_a_deleted_session_does_not_change_the_next_one_with_its_id(host: RunHost) -> None:
    session = host.session(TALK)
    async with session.run(open_input=True) as run:
        await run.push("old")
        outputs = run.outputs()
        while (await anext(outputs)).value.finish_reason != "stop":  # so that its turn has begun
            pass
        await session.turns()
        await session.delete()
        await session.request("new").all()
        await run.end_input()
        await run.result()
        assert [turn.question.text for turn in await session.turns()] == ["new"]


async def test_a_deleted_fork_leaves_the_session_of_its_runs(host: RunHost) -> None:
    session = host.session(TALK)
    run = await session.start("one")
    await run.result()
    fork = await session.fork()
    await fork.delete()
    assert (await host.session_of_run(run.id)).id == session.id


async def test_a_turn_is_there_when_its_run_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = asyncio.Event()
    begin_turn = StoredSessions.begin_turn

    async def begin_late(self: StoredSessions, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        await stored.wait()
        await begin_turn(self, session, turn)

    monkeypatch.setattr(StoredSessions, "begin_turn", begin_late)
    async with Mesh(nodes=[NODES], store=str(tmp_path / "runs.sqlite")) as mesh:
        session = mesh.session(TALK)
        run = await session.start("one")
        await run.result()
        found = asyncio.gather(mesh.session_of_run(run.id), session.info(), session.turns())
        await mesh.runs()  # the store answers in the order of the calls
        stored.set()
        of_run, info, turns = await found
        assert (of_run.id, info.last_turn, [turn.question.text for turn in turns]) == (session.id, 1, ["one"])


async def test_another_target_does_not_displace_the_answer(host: RunHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh_orchestrator.sessions.conversation.MAX_ANSWER", 10)
    copied = {
        "id": "copy",
        "provider": "response",
        "config": {"lane": "text"},
        "input": [{"lane": "text", "from": "chat_1"}],
    }
    session = host.session({"components": [*TALK["components"], copied]})
    await session.run("123456").result()
    (turn,) = await session.turns()
    assert (turn.answer.text, turn.truncated) == ("now:123456", False)
