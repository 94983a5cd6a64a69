"""`lanemesh runs`, `show`, `watch`, `cancel` and `run --detach`, on a mesh of processes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rigs import commands
from rigs.commands import TIMEOUT, Command

NODES = '''
import asyncio

from lanemesh import Context, In, Node, Out


class Tick(Node):
    """Ticks, for ever if the text says so."""

    text: In[str]
    tick: Out[str]

    async def gen_process(self, context: Context):
        for number in range(10**9 if self.text == "for ever" else 3):
            yield "tick", f"tick {number}"
            await asyncio.sleep(0.01)


class Careful(Node):
    """Asks for an approval."""

    text: In[str]
    decision: Out[str]

    async def process(self, context: Context):
        decision = await context.approval(f"send {self.text}", tool="mail.send", call_id="c1")
        return "approved" if decision else f"refused: {decision.reason}"


class Fail(Node):
    """Fails."""

    text: In[str]
    never: Out[str]

    async def process(self, context: Context):
        context.log.warning("about to fail")
        raise ValueError("a bad word")
'''


def pipe(provider: str) -> str:
    """A pipeline with one node between chat and response."""
    middle = {"id": "m", "provider": provider, "input": [{"lane": "text", "from": "chat"}]}
    last = {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "m"}]}
    return json.dumps({"name": provider, "components": [{"id": "chat", "provider": "chat"}, middle, last]})


class Commands:
    """Runs commands against a mesh."""

    def __init__(self, folder: Path, address: str) -> None:
        self.address = address
        self._folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What a command prints on standard output; `code` is how it has to end."""
        done = self.run(*arguments)
        assert done.returncode == code, done.stderr
        return done.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        return commands.run(*arguments, "--mesh", self.address, folder=self._folder)

    def detached(self, provider: str, text: str) -> str:
        """The id of a run that was started detached."""
        return self("run", f"{provider}.pipe", "--detach", "--input", text).strip()


@pytest.fixture(scope="module")
def lanemesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """The commands, with an orchestrator and a node server."""
    folder = tmp_path_factory.mktemp("mesh")
    (folder / "nodes.py").write_text(NODES)
    for provider in ("tick", "fail", "careful"):
        (folder / f"{provider}.pipe").write_text(pipe(provider))
    unnamed = json.loads(pipe("tick"))
    del unnamed["name"]
    (folder / "unnamed.pipe").write_text(json.dumps(unnamed))
    processes: list[Command] = []

    def start(*arguments: str) -> Command:
        process = Command(*arguments, folder=folder, stdout=subprocess.DEVNULL)
        processes.append(process)
        return process

    try:
        address = _told(start("serve", "--port", "0"), "reached at ")
        _told(start("node", "--nodes", "nodes.py", "--orchestrator", address, "--log-level", "info"), "joined as ")
        yield Commands(folder, address)
    finally:
        for process in processes[::-1]:
            process.terminate()
            process.communicate(timeout=TIMEOUT)


def _told(process: Command, word: str) -> str:
    """What a process says behind a word, as soon as it does."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return line.partition(word)[2].split()[0].rstrip(",")
    raise AssertionError(f"it ended before it said {word!r}")


def awaited(lanemesh: Commands, run: str) -> str:
    """What `show` prints of a run that waits for an approval."""
    updates = commands.Command("watch", run, "--json", "--mesh", lanemesh.address, stdout=subprocess.PIPE)
    try:
        assert updates.stdout is not None
        assert any('"approval"' in line for line in updates.stdout)
    finally:
        updates.terminate()
        updates.communicate(timeout=TIMEOUT)
    return lanemesh("show", run)


def test_a_run_that_waits_for_an_approval_is_shown_and_decided(lanemesh: Commands) -> None:
    run = lanemesh.detached("careful", "a letter")

    shown = awaited(lanemesh, run)
    assert "m · c1 waits for an approval: send a letter" in shown
    assert "`lanemesh approve RUN CALL`" in shown
    assert lanemesh("refuse", run, "--reason", "not today") == f"{run}: c1 refused\n"
    assert lanemesh("watch", run) == "refused: not today\n"
    late = lanemesh.run("approve", run, "c1")
    assert late.returncode != 0
    assert "has ended" in late.stderr
    nothing = lanemesh.run("approve", run)
    assert "waits for no approval" in nothing.stderr


def test_a_run_of_a_deployed_pipeline_is_started_detached(lanemesh: Commands) -> None:
    lanemesh("deploy", "tick.pipe", "--name", "ticking")
    run = lanemesh("run", "@ticking", "--detach", "--input", "now").strip()
    assert lanemesh("watch", run) == "tick 0\ntick 1\ntick 2\n"
    assert "@ticking version 1" in lanemesh("show", run)
    lanemesh("undeploy", "ticking")


def test_a_detached_run_is_listed_shown_and_watched(lanemesh: Commands) -> None:
    run = lanemesh.detached("tick", "now")

    assert lanemesh("watch", run) == "tick 0\ntick 1\ntick 2\n"
    assert lanemesh("show", run, "--outputs") == "tick 0\ntick 1\ntick 2\n"
    shown = lanemesh("show", run)
    for told in (f"{run} · tick · completed", "tick 2", "m (tick) ran in nodes", "m.tick>out.text: 3 sent, 3 taken"):
        assert told in shown
    record = json.loads(lanemesh("show", run.removeprefix("run-")[:8], "--json"))
    assert (record["run_id"], record["state"], record["output_count"]) == (run, "completed", 3)
    assert [output["value"] for output in record["outputs"]] == ["tick 0", "tick 1", "tick 2"]
    updates = [json.loads(line) for line in lanemesh("show", run, "--updates").splitlines()]
    assert [update["sequence"] for update in updates] == list(range(1, record["last_sequence"] + 1))
    rest = lanemesh("watch", run, "--json", "--from", str(len(updates)))
    assert [json.loads(line)["state"] for line in rest.splitlines()] == ["completed"]
    assert re.search(r"^m completed: 1 firing, .*running \d+\.\d\d s", shown, re.MULTILINE)
    (node,) = [node for node in record["nodes"] if node["component"] == "m"]
    assert (node["state"], node["firings"]) == ("completed", 1)
    assert node["seconds"]["running"] > 0
    assert {place["component"] for place in record["placements"]} == {"chat", "m", "out"}
    assert [edge["sent"] for edge in record["edges"] if edge["edge"] == "m.tick>out.text"] == [3]
    assert run in lanemesh("runs")
    assert run in [entry["run_id"] for entry in json.loads(lanemesh("runs", "--json", "--state", "completed"))]


def test_a_failed_run_says_why_wherever_it_is_shown(lanemesh: Commands) -> None:
    run = lanemesh.detached("fail", "x")
    watched = lanemesh.run("watch", run)

    assert (watched.returncode, "ValueError: a bad word" in watched.stderr) == (1, True)
    shown = lanemesh("show", run)
    assert "ValueError: a bad word" in shown
    assert re.search("^✗ m failed: .*a bad word", shown, re.MULTILINE)
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("✗ ") and " failed" in line] == ["m"], (
        shown
    )
    assert "m warning: about to fail" in shown
    record = json.loads(lanemesh("show", run, "--json"))
    assert [event["message"] for event in record["events"]] == ["about to fail"]
    failed = {node["component"]: node["error"] for node in record["nodes"] if node["state"] == "failed"}
    assert (failed["m"].get("secondary"), failed["out"].get("secondary")) == (None, True)
    assert re.search("^out cancelled: .*ended by: ValueError: a bad word", shown, re.MULTILINE)
    assert "input 1: x" in shown
    assert (record["input_count"], [one["summary"] for one in record["inputs"]]) == (1, ["x"])
    assert "a bad word" in lanemesh("runs", "--state", "failed")
    assert lanemesh("runs", "--state", "failed", "--deployment", "none") == "There are no such runs.\n"


def test_runs_are_cancelled(lanemesh: Commands) -> None:
    run = lanemesh.detached("tick", "for ever")

    assert lanemesh("cancel", "last", "--reason", "enough") == f"{run} cancelled\n"
    assert lanemesh("cancel", run) == f"{run} has ended already: cancelled\n"
    watched = lanemesh.run("watch", run)
    assert (watched.returncode, "enough" in watched.stderr) == (1, True)


def test_several_runs_are_shown_and_cancelled_and_unknown_ones_are_reported(lanemesh: Commands) -> None:
    ended = lanemesh.detached("tick", "now")
    lanemesh("watch", ended)
    first, second = lanemesh.detached("tick", "for ever"), lanemesh.detached("tick", "for ever")

    shown = lanemesh.run("show", ended, "run-nothing", first)
    assert (shown.returncode, 'there is no run "run-nothing"' in shown.stderr) == (2, True)
    assert f"{ended} · tick · completed" in shown.stdout
    assert f"{first} · tick · running" in shown.stdout
    cancelled = lanemesh.run("cancel", first, "run-nothing", second, first)
    assert (cancelled.returncode, 'there is no run "run-nothing"' in cancelled.stderr) == (2, True)
    assert cancelled.stdout == f"{first} cancelled\n{second} cancelled\n"
    refused = lanemesh.run("show", ended, first, "--output", "out=out.txt")
    assert (refused.returncode, "give one RUN" in refused.stderr) == (2, True)


def test_several_deployments_are_removed_and_unknown_ones_are_reported(lanemesh: Commands) -> None:
    for name in ("one", "two"):
        lanemesh("deploy", "tick.pipe", "--name", name)

    removed = lanemesh.run("undeploy", "one", "three", "two", "one")
    assert (removed.returncode, "three" in removed.stderr) == (2, True)
    assert removed.stdout == "one is no longer deployed.\ntwo is no longer deployed.\n"
    assert json.loads(lanemesh("deployments", "--json")) == []


def test_a_run_of_a_document_without_a_name_is_named_after_its_file(lanemesh: Commands) -> None:
    run = lanemesh("run", "unnamed.pipe", "--detach", "--input", "now").strip()
    lanemesh("watch", run)

    assert re.search(rf"{run} +unnamed.pipe +completed", lanemesh("runs"))
    assert json.loads(lanemesh("show", run, "--json"))["name"] == "unnamed.pipe"


def test_a_watcher_that_is_interrupted_leaves_the_run_alone(lanemesh: Commands) -> None:
    run = lanemesh.detached("tick", "for ever")
    with Command("watch", run, "--mesh", lanemesh.address) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "tick 0\n"
        watcher.send_signal(2)
        _, told = watcher.communicate(timeout=TIMEOUT)

    state = json.loads(lanemesh("show", run, "--json"))["state"]
    cancelled = lanemesh("cancel", run)  # a node server that ends waits for its runs
    assert (watcher.returncode, f"{run} continues" in told) == (130, True), told
    assert (state, cancelled) == ("running", f"{run} cancelled\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "run-nothing"], 'there is no run "run-nothing"'),
        (["watch", "nothing"], 'there is no run "nothing"'),
        (["cancel", "run-"], "runs begin with run-"),
        (["show", "last", "--outputs", "--trace"], "cannot both be given"),
        (["run", "tick.pipe", "--detach", "--watch", "--input", "x"], "cannot both be given"),
    ],
)
def test_what_cannot_be_meant_is_one_paragraph(lanemesh: Commands, arguments: Sequence[str], told: str) -> None:
    for _ in range(2):
        lanemesh.detached("tick", "now")
    done = lanemesh.run(*arguments)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr


def test_detaching_wants_a_mesh(tmp_path: Path) -> None:
    (tmp_path / "tick.pipe").write_text(pipe("tick"))
    done = commands.run("run", "tick.pipe", "--detach", "--input", "x", folder=tmp_path)
    assert (done.returncode, "--detach needs --mesh" in done.stderr) == (2, True)
