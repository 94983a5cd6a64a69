"""Shell commands as a tool."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.permissions import Permissions
from lanemesh_services.tools.shell import ToolShell

from .conftest import LOCAL, error_of, loaded, value_of

ALLOWED = Permissions.of(["shell"])


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def until_gone(pid: int) -> None:
    """Waits for the end of a process."""

    def wait() -> None:
        until = time.monotonic() + 5
        while not is_gone(pid):
            assert time.monotonic() < until
            time.sleep(0.005)

    await asyncio.to_thread(wait)


async def test_happy_a_command_has_a_code_output_and_errors(tmp_path: Path) -> None:
    tools = await loaded(ToolShell, permissions=ALLOWED, root=str(tmp_path), variables={"A": "1"})

    (spec,) = await tools.specs()
    assert "60 s, and no input" in spec.description
    assert await value_of(tools, "run_command", command="pwd; echo $A >&2; exit 3") == {
        "code": 3,
        "output": f"{tmp_path}\n",
        "errors": "1\n",
    }
    assert await value_of(tools, "run_command", command="cat") == {"code": 0}


async def test_happy_a_command_does_not_see_the_environment_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "s3cret")
    tools = await loaded(ToolShell, permissions=ALLOWED, root=str(tmp_path))
    assert "s3cret" not in (await value_of(tools, "run_command", command="env"))["output"]


@pytest.mark.parametrize("permissions", [Permissions.of([]), LOCAL, Permissions.of(["write", "hosts"])])
async def test_error_it_is_off_unless_it_is_permitted(tmp_path: Path, permissions: Permissions) -> None:
    tools = await loaded(ToolShell, permissions=permissions, root=str(tmp_path))
    with pytest.raises(LanemeshError, match=r"does not permit it to run shell commands.*lanemesh node --allow shell"):
        await tools.specs()


async def test_error_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    tools = await loaded(ToolShell, permissions=ALLOWED, root=str(tmp_path), timeout=0.3)
    error = await error_of(tools, "run_command", command="sleep 100 & echo $! > pid; wait")
    assert error["reason"] == "tool-timeout"
    await until_gone(int((tmp_path / "pid").read_text()))


async def test_error_a_background_process_does_not_delay_the_result(tmp_path: Path) -> None:
    tools = await loaded(ToolShell, permissions=ALLOWED, root=str(tmp_path))
    found = await value_of(tools, "run_command", command="sleep 100 & echo $!")
    assert found["code"] == 0
    await until_gone(int(found["output"]))


async def test_error_a_command_that_floods_is_killed(tmp_path: Path) -> None:
    tools = await loaded(ToolShell, permissions=ALLOWED, root=str(tmp_path), max_bytes=1000)
    found = await value_of(tools, "run_command", command="yes")
    assert (len(found["output"]), found["note"]) == (1000, "it was killed after 1,000 bytes")


async def test_shutdown_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    tools = await loaded(ToolShell, permissions=ALLOWED, root=str(tmp_path))
    task = asyncio.create_task(value_of(tools, "run_command", command="echo $$ > begun; sleep 100"))
    pid = int(await asyncio.to_thread((tmp_path / "begun").read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_gone(pid)
