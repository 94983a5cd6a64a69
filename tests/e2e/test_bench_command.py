"""`lanemesh bench`: embedded, spread and on a mesh; failures, Ctrl-C and wrong usage."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.commands import TIMEOUT, Command, run

NODES = '''
import itertools
from pathlib import Path

from lanemesh import Context, In, Node, Out

numbers = itertools.count(1)


class Three(Node):
    """Emits each text three times."""

    text: In[str]
    out: Out[str]

    async def gen_process(self, context: Context):
        for _ in range(3):
            yield "out", self.text


class Odd(Node):
    """Fails on every second text."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context):
        if next(numbers) % 2 == 0:
            raise ValueError("a bad word")
        return {"out": self.text}


class Stuck(Node):
    """Emits a text and never ends. The first one creates a file."""

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs, outputs):
        import asyncio

        async for text in inputs.stream("text"):
            await outputs.emit("out", text)
            Path("stuck").touch()
            await asyncio.Event().wait()
'''


def pipe(provider: str) -> str:
    """A pipeline with one node between chat and response."""
    middle = {"id": "m", "provider": provider, "input": [{"lane": "text", "from": "chat"}]}
    last = {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "m"}]}
    return json.dumps({"name": provider, "components": [{"id": "chat", "provider": "chat"}, middle, last]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "more.py").write_text(NODES)
    for name in ("three", "odd", "stuck", "nothing"):
        (tmp_path / f"{name}.pipe").write_text(pipe(name))
    source = {"id": "s", "provider": "numbers_of_its_own"}
    (tmp_path / "broken.pipe").write_text(json.dumps({"components": [source]}))
    return tmp_path


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("bench", *arguments, folder=folder)


def rows(printed: str) -> dict[str, list[str]]:
    """The cells of each line, by its name."""
    lines = (re.split(r"  +", line.strip()) for line in printed.splitlines())
    return {name: cells for name, *cells in lines}


@pytest.mark.parametrize("where", [(), ("--spread",)], ids=["embedded", "spread"])
def test_it_prints_rates_and_percentiles(folder: Path, where: tuple[str, ...]) -> None:
    done = bench(folder, "three.pipe", "--nodes", "more.py", "--concurrency", "4", "--requests", "12", *where)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert (found["requests"][0], found["items"][0]) == ("12", "36")
    assert found["milliseconds"] == ["p50", "p90", "p99", "max"]
    for name in ("first item", "whole request", "between items"):
        times = [float(cell.replace(",", "")) for cell in found[name]]
        assert times == sorted(times)
    assert "measuring 12 requests, 4 at a time" in done.stderr


def test_failures_are_counted_by_reason_and_are_the_exit_code(folder: Path) -> None:
    done = bench(folder, "odd.pipe", "--nodes", "more.py", "--requests", "20", "--warmup", "0", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["completed"], found["failed"], found["unfinished"]) == (10, 10, 0)
    (failure,) = found["failures"]
    assert (failure["reason"], failure["count"]) == ("node-error", 10)
    assert "a bad word" in failure["message"]
    done = bench(folder, "odd.pipe", "--nodes", "more.py", "--requests", "2", "--warmup", "2", "--set", "m.x=1")
    assert (done.returncode, "unknown-setting" in done.stderr) == (2, True)


def test_a_timeout_is_a_failure(folder: Path) -> None:
    done = bench(
        folder, "stuck.pipe", "--nodes", "more.py", "--requests", "3", "--warmup", "1", "--timeout", "0.2", "--json"
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["completed"]) == (1, 0)
    assert [(one["reason"], one["count"]) for one in found["failures"]] == [("timeout", 3)]
    assert re.search(r"warning: a request of the warm-up failed: .* took longer than its timeout", done.stderr)


def test_ctrl_c_prints_what_was_measured(folder: Path) -> None:
    words = ("bench", "stuck.pipe", "--nodes", "more.py", "--concurrency", "2", "--warmup", "0", "--json")
    process = Command(*words, folder=folder)
    try:
        assert process.stderr is not None
        assert "measuring" in process.stderr.readline()
        while not (folder / "stuck").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
        process.wait()
    found = json.loads(printed)
    assert (process.returncode, found["completed"], found["unfinished"], errors) == (130, 0, 2, "")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("broken.pipe",), 2, "unknown-provider"),
        (("missing.pipe",), 2, "There is no file missing.pipe"),
        (("three.pipe", "--concurrency", "0"), 2, "--concurrency"),
        (("three.pipe", "--requests", "0"), 2, "--requests"),
        (("@", "--mesh", "127.0.0.1:1"), 2, "write a deployed pipeline as @NAME"),
        (("@chat", "--mesh", "127.0.0.1:1"), 1, "cannot be reached"),
        (("three.pipe", "--mesh", "127.0.0.1:1", "--spread"), 2, "cannot both be given"),
    ],
)
def test_wrong_usage_is_reported(folder: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = bench(folder, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


@pytest.fixture
def mesh(folder: Path) -> Iterator[str]:
    """The address of an orchestrator and a node server."""
    orchestrator = Command("serve", "--port", "0", "--store", "none", folder=folder)
    processes = [orchestrator]
    try:
        assert orchestrator.stderr is not None
        address = re.findall(r"127\.0\.0\.1:\d+", orchestrator.stderr.readline())[-1]
        server = Command("node", "--nodes", "more.py", "--orchestrator", address, folder=folder)
        processes.append(server)
        assert server.stderr is not None
        while "joined" not in server.stderr.readline():
            pass
        yield address
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_deployed_pipeline_is_measured_on_its_mesh(folder: Path, mesh: str) -> None:
    assert run("deploy", "three.pipe", "--name", "three", "--mesh", mesh, folder=folder).returncode == 0
    done = bench(folder, "@three", "--mesh", mesh, "--requests", "20", "--concurrency", "5", "--input", "x", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["completed"], found["items"], found["failed"]) == (0, 20, 60, 0)
    assert (found["pipeline"], found["concurrency"]) == ("@three", 5)
    done = bench(folder, "@four", "--mesh", mesh)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'no deployed pipeline "four"' in done.stderr
