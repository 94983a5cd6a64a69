"""`lanemesh sessions`: the conversations that a mesh keeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lanemesh.client.client import Client
from lanemesh.client.sessions import SessionInfo, Turn
from lanemesh.faults import LanemeshError
from lanemesh.times import age

from lanemesh_orchestrator.cli.commands.deployments import on_mesh
from lanemesh_orchestrator.cli.commands.nodes import print_rich
from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.visible import cells, visible
from lanemesh_orchestrator.update_json import session_json, turn_json


def list_sessions(deployment: str, *, limit: int, mesh: str, as_json: bool) -> ExitCode:
    """Prints the sessions, the last used first."""
    found = on_mesh(mesh, lambda client: client.sessions(deployment, limit=limit))
    if as_json:
        print(json_text(list(map(session_json, found)), indent=2))
    elif not found:
        print("There are no sessions. Begin one with: lanemesh chat @NAME --session ID")
    else:
        _print_table(found)
    return ExitCode.COMPLETED


def show_session(session: str, *, mesh: str, as_json: bool) -> ExitCode:
    """Prints the turns of a session."""

    async def work(client: Client) -> tuple[SessionInfo, list[Turn]]:
        found = client.session("", session)
        return await found.info(), await found.turns()

    info, turns = on_mesh(mesh, work)
    if as_json:
        print(json_text({**session_json(info), "turns": list(map(turn_json, turns))}, indent=2))
        return ExitCode.COMPLETED
    for turn in turns:
        state = "" if turn.state == "completed" else f"\n({turn.state})"
        answer = turn.answer.text or (json_text(turn.answer.data) if turn.answer.data is not None else "")
        print(visible(f"{turn.number}> {turn.question.text}\n\n{answer.rstrip()}{state}\n"))
    return ExitCode.COMPLETED


def fork_session(session: str, *, turn: int, new: str, mesh: str) -> ExitCode:
    """Forks a session, and prints the id of the new one."""

    async def work(client: Client) -> str:
        return (await client.session("", session).fork(turn, id=new)).id

    print(on_mesh(mesh, work))
    return ExitCode.COMPLETED


def delete_sessions(sessions: Sequence[str], *, mesh: str) -> ExitCode:
    """Deletes sessions. One that does not exist is reported, and the others are deleted."""

    async def work(client: Client) -> ExitCode:
        code = ExitCode.COMPLETED
        for session in dict.fromkeys(sessions):
            try:
                await client.session("", session).delete()
            except LanemeshError as error:
                if len(sessions) == 1 or error.fault.reason != "unknown-session":
                    raise
                report(error, debug=False)
                code = ExitCode.FAILED
            else:
                print(f"{session} is deleted.")
        return code

    return on_mesh(mesh, work)


def _print_table(found: Sequence[SessionInfo]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("SESSION", "PIPELINE", "TURNS", "USED", "TITLE"):
        table.add_column(column, overflow="fold")
    now = datetime.now(UTC)
    for one in found:
        used = age((now - one.used_at).total_seconds())
        pipeline = f"@{one.deployment}" if one.deployment else ""
        table.add_row(*cells((one.id, pipeline, str(one.last_turn), used, one.title)))
    print_rich(table)
