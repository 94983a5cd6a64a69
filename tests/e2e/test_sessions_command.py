"""`lanemesh sessions`, and `lanemesh chat` that goes on with one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from lanemesh import Client
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.commands import run as run_command

NODES = Path(__file__).parents[1] / "rigs" / "talking_nodes.py"
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


async def test_a_chat_goes_on_with_a_session_that_is_listed_shown_forked_and_deleted(tmp_path: Path) -> None:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()

    async def command(*words: str, text: str | None = None) -> Any:
        mesh = f"--mesh={orchestrator.address}"
        return await asyncio.to_thread(run_command, *words, mesh, folder=tmp_path, text=text)

    try:
        async with Client(orchestrator.address) as client:
            await client.deploy("talk", TALK)
        first = await command("chat", "@talk", "--session=mine", text="one\n")
        assert (first.returncode, first.stdout.strip()) == (0, "now:one"), first.stderr
        second = await command("chat", "@talk", "--session=mine", text="two\n")
        assert second.stdout.strip() == "user:one|assistant:now:one|now:two"
        assert "goes on after 1 turns, the last: one" in second.stderr

        listed = json.loads((await command("sessions", "list", "--json")).stdout)
        assert [(one["id"], one["deployment"], one["last_turn"]) for one in listed] == [("mine", "talk", 2)]
        assert "@talk" in (await command("sessions", "list")).stdout
        shown = await command("sessions", "show", "mine")
        assert shown.stdout.startswith("1> one\n\nnow:one\n")
        turns = json.loads((await command("sessions", "show", "mine", "--json")).stdout)["turns"]
        assert [turn["answer"]["text"] for turn in turns] == ["now:one", "user:one|assistant:now:one|now:two"]
        forked = await command("sessions", "fork", "mine", "--turn=1", "--id=other")
        assert forked.stdout.strip() == "other"
        gone = await command("sessions", "delete", "mine", "missing")
        assert gone.returncode == 1
        assert "no such session" in gone.stderr
        assert gone.stdout == "mine is deleted.\n"
        assert [one["id"] for one in json.loads((await command("sessions", "list", "--json")).stdout)] == ["other"]
        assert (await command("sessions", "show", "mine")).returncode == 2
    finally:
        await orchestrator.close()
