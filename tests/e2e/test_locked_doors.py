"""A mesh with mTLS and tokens everywhere, from the command line: deployed runs, agents, spread runs and the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from rigs import commands
from rigs.agui_pipelines import ADD, agent
from rigs.commands import Command
from rigs.doors import Doors
from rigs.ports import free_port
from rigs.runs import NODES, RIGS, line, node

SECONDS = 60.0
"""How long processes have to start."""
AGENT = agent({"text": "I add.", **ADD}, "It is 3.")
CHAIN = line(node("a", "tag", "chat", mark="+"), node("b", "upper_case", "a"))
"""Over two node servers."""


class LockedMesh:
    """`lanemesh serve` and four node servers, each with a certificate and a token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.doors = Doors(folder / "doors")
        self.address, self.http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        for name, pipeline in (("agent", AGENT), ("chain", CHAIN)):
            (folder / f"{name}.pipe").write_text(json.dumps(pipeline))
        self.processes: list[Command] = []

    def environment(self, certificate: str, token: str) -> dict[str, str]:
        """The variables of a process."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("LANEMESH_T")}
        return {**others, "LANEMESH_STORE": "none", **self.doors.locked(certificate, token).environment()}

    def start(self, *arguments: str, certificate: str = "node") -> None:
        """Starts a server."""
        log = (self.folder / f"{len(self.processes)}.log").open("w")
        environment = self.environment(certificate, "node")
        self.processes.append(
            Command(*arguments, folder=self.folder, environment=environment, stdout=log.fileno(), stderr=log.fileno())
        )

    def run(self, *arguments: str, token: str = "runner", **changes: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of a client."""
        environment = {**self.environment("client", token), **changes}
        return commands.run(*arguments, folder=self.folder, environment=environment)

    def mesh(self, *arguments: str, token: str = "runner", **changes: str) -> subprocess.CompletedProcess[str]:
        """The same with `--mesh`."""
        return self.run(*arguments, "--mesh", self.address, token=token, **changes)

    def logs(self) -> str:
        """What all servers have logged."""
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockedMesh]:
    mesh = LockedMesh(tmp_path_factory.mktemp("mesh"))
    join = ("--orchestrator", mesh.address)
    port, http = (address.rpartition(":")[2] for address in (mesh.address, mesh.http))
    mesh.start("serve", "--port", port, "--http", http, certificate="orchestrator")
    mesh.start("node", "agent", *join)
    mesh.start("node", "llm", "tools", "--files", str(RIGS), *join)
    mesh.start("node", "text", *join)
    mesh.start("node", "--nodes", str(NODES), *join)
    try:
        wait_until(lambda: joined(mesh) == 4)
        yield mesh
    finally:
        for process in reversed(mesh.processes):
            process.terminate()
        for process in mesh.processes:
            try:
                process.wait(20)
            finally:
                process.kill()


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits for processes that report nothing, at most a minute."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "the mesh did not start"
        time.sleep(0.1)


def joined(mesh: LockedMesh) -> int:
    """How many node servers have joined."""
    done = mesh.mesh("nodes", "--servers", "--json", token="watcher")
    return len(json.loads(done.stdout)) if done.returncode == 0 else 0


def headers(mesh: LockedMesh, token: str) -> Mapping[str, str]:
    """Those of a request with a token."""
    return {"authorization": f"Bearer {mesh.doors.token(token)}"}


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed."""
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.conformance("SRV-03")
def test_runs_and_agents_work_over_several_node_servers(locked: LockedMesh) -> None:
    assert succeeded(locked.mesh("run", "chain.pipe", "--input", "abc")).strip() == "+ABC"
    assert "It is 3." in succeeded(locked.mesh("run", "agent.pipe", "--input", "add 1 and 2"))


@pytest.mark.conformance("SRV-03")
def test_a_deployed_pipeline_runs_and_scopes_hold(locked: LockedMesh) -> None:
    refused = locked.mesh("deploy", "chain.pipe", "--name", "chain")
    assert refused.returncode == 1
    assert "needs a token with the scope deploy or admin" in refused.stderr
    succeeded(locked.mesh("deploy", "chain.pipe", "--name", "chain", token="deployer"))
    assert succeeded(locked.mesh("run", "@chain", "--input", "abc")).strip() == "+ABC"
    assert "chain" in succeeded(locked.mesh("runs", token="watcher"))
    succeeded(locked.mesh("undeploy", "chain", token="admin"))


@pytest.mark.conformance("SRV-03")
def test_a_token_that_lists_no_runs_follows_shows_and_cancels_a_run_by_its_id(locked: LockedMesh) -> None:
    run = succeeded(locked.mesh("run", "chain.pipe", "--detach", "--input", "abc")).strip()

    assert succeeded(locked.mesh("watch", run)).strip() == "+ABC"
    assert "+ABC" in succeeded(locked.mesh("show", run))
    assert succeeded(locked.mesh("cancel", run)).strip() == f"{run} has ended already: completed"
    assert "needs a token with the scope watch" in locked.mesh("watch", "last").stderr


@pytest.mark.conformance("SRV-03")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LANEMESH_TOKEN": ""}, "this server requires a token"),
        ({"LANEMESH_TOKEN": "wrong"}, "not one that this server accepts"),
        ({"LANEMESH_TLS_CERT": "", "LANEMESH_TLS_KEY": "", "LANEMESH_MTLS": ""}, "LANEMESH_TLS_CERT"),
        ({"LANEMESH_TLS_CA": "", "LANEMESH_MTLS": ""}, "set LANEMESH_TLS_CA"),
    ],
    ids=["no token", "wrong token", "no certificate", "plain text"],
)
def test_others_are_refused_and_learn_what_to_do(locked: LockedMesh, changes: dict[str, str], message: str) -> None:
    done = locked.mesh("run", "chain.pipe", "--input", "abc", **changes)
    assert done.returncode == 1
    assert message in done.stderr
    assert locked.doors.token("runner") not in done.stderr


def test_a_spread_run_locks_its_own_processes(locked: LockedMesh) -> None:
    arguments = ("run", "chain.pipe", "--spread=component", "--nodes", str(NODES), "--input", "abc")
    assert succeeded(locked.run(*arguments, token="node")).strip() == "+ABC"
    refused = locked.run(*arguments, token="watcher")
    assert refused.returncode == 1
    assert "needs a token with the scope node" in refused.stderr


def test_the_gateway_sends_on_the_tokens_of_its_callers(locked: LockedMesh) -> None:
    body: dict[str, Any] = {"pipeline": CHAIN, "input": "abc", "detached": False}
    url = f"http://{locked.http}/v1/runs"
    run = httpx.post(url, json=body, headers={**headers(locked, "runner"), "accept": "text/event-stream"}, timeout=60)
    assert (run.status_code, "+ABC" in run.text) == (200, True)
    del body["detached"]
    assert httpx.post(url, json=body, headers=headers(locked, "watcher"), timeout=60).status_code == 403
    assert httpx.post(url, json=body, timeout=60).status_code == 401


def test_no_server_has_logged_a_token(locked: LockedMesh) -> None:
    logs = locked.logs()
    assert "joined" in logs
    assert not [name for name in ("node", "runner", "watcher", "deployer") if locked.doors.token(name) in logs]
