"""Two gateways of one mesh behind Envoy behave as one: event streams resume, and sessions go on, at either."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from lanemesh import Client
from lanemesh.client.records import RunRecord
from lanemesh_orchestrator.orchestrator import Orchestrator

from repeats import times
from rigs.gateways import EVENTS, Event, all_events, events, gateway_at, texts
from rigs.lane_proxies import envoy_balancing
from rigs.runs import NODES, RIGS, line, node, pipeline

TAG = line(node("a", "tag", "chat", mark="+"))
RECALL = pipeline(
    {"id": "chat_1", "provider": "chat"},
    {"id": "recall_1", "provider": "recall", "input": [{"lane": "questions", "from": "chat_1"}]},
    {
        "id": "out",
        "provider": "response",
        "config": {"lane": "answers"},
        "input": [{"lane": "answers", "from": "recall_1"}],
    },
)
WATCHERS = 10
RECONNECTS = times(1_000, 40)


class CountingClient(Client):
    """A client that counts the event streams of its gateway."""

    streams = 0

    async def record(self, run_id: str) -> RunRecord:
        """The record of a run, which a gateway reads before it sends its events."""
        self.streams += 1
        return await super().record(run_id)


async def next_event(web: httpx.AsyncClient, path: str, last: str) -> Event | None:
    """The event after one, over a connection of its own; None if there is none."""
    headers = {**EVENTS, "connection": "close", **({"last-event-id": last} if last else {})}
    async with web.stream("GET", f"{path}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return None
        async for event in events(answer):
            return event
    return None


@pytest.mark.many
async def test_many_reconnects_lose_nothing_and_sessions_go_on() -> None:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES, RIGS / "talking_nodes.py"])
    await orchestrator.listen()
    clients = [CountingClient(orchestrator.address) for _ in range(2)]
    try:
        async with (
            gateway_at(clients[0]) as left,
            gateway_at(clients[1]) as right,
            envoy_balancing([one.url.removeprefix("http://") for one in (left, right)]) as address,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as web,
        ):
            await reconnect(web)
            await converse(web)
        assert min(client.streams for client in clients) > RECONNECTS / 4, [client.streams for client in clients]
    finally:
        for client in clients:
            await client.close()
        await orchestrator.close()


async def reconnect(web: httpx.AsyncClient) -> None:
    """Watchers of an active run connect again after each event."""
    started = await web.post("/v1/runs", json={"pipeline": TAG, "open_input": True})
    path = started.headers["location"]
    count = RECONNECTS // WATCHERS

    async def watch() -> list[int]:
        found: list[int] = []
        while (event := await next_event(web, path, str(found[-1]) if found else "")) is not None:
            found.append(int(event.id))
        return found

    watching = [asyncio.create_task(watch()) for _ in range(WATCHERS)]
    for number in range(count):
        await web.post(f"{path}/input", json={"value": str(number), "end": number == count - 1})
    streams = await asyncio.gather(*watching)
    whole = await all_events(web, f"{path}/events")
    assert texts(whole) == [f"+{number}" for number in range(count)]
    assert [stream == [int(event.id) for event in whole] for stream in streams] == [True] * WATCHERS
    assert sum(map(len, streams)) >= RECONNECTS


async def converse(web: httpx.AsyncClient) -> None:
    """Each turn of a session is another request, which may reach the other gateway."""
    expected = ""
    for text in ("one", "two", "three"):
        body: dict[str, Any] = {"pipeline": RECALL, "input": text, "session": "shared"}
        path = (await web.post("/v1/runs", json=body)).headers["location"]
        answer = "".join(value["text"] for value in texts(await all_events(web, f"{path}/events")))
        assert answer == f"{expected}now:{text}"
        expected += f"user:{text}|assistant:{answer}|"
    turns = (await web.get("/v1/sessions/shared")).json()["turns"]
    assert [turn["number"] for turn in turns] == [1, 2, 3]
