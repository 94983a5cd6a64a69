"""What user code leaves does not outlive its work: threads, forked processes, standard input that it has closed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LANEMESH = str(Path(sys.executable).with_name("lanemesh"))
SOON = 60

NODES = """
import asyncio, multiprocessing, os, signal, threading, time
from lanemesh import Context, In, Node, Out

def never_ends():
    threading.Event().wait()

class LeavesThread(Node):
    text: In[str]
    out: Out[str]

    @classmethod
    async def load(cls, config):
        threading.Thread(target=never_ends, name="keeper").start()
        return {}

    async def process(self, context: Context):
        return {"out": self.text}

class FailsBesideThread(Node):
    text: In[str]
    out: Out[str]

    async def process(self, context: Context):
        self.waiting = asyncio.create_task(asyncio.to_thread(never_ends))
        await asyncio.sleep(0)
        raise ValueError("the reason")

class LeavesProcess(Node):
    text: In[str]
    out: Out[str]

    async def process(self, context: Context):
        multiprocessing.get_context("fork").Process(target=signal.pause, name="worker").start()
        return {"out": self.text}

class ReadsInput(Node):
    text: In[str]
    out: Out[str]

    def process(self, context: Context):
        try:
            return {"out": "read " + input()}
        except EOFError:
            return {"out": "nothing to read"}

class ClosesInput(Node):
    text: In[str]
    out: Out[str]

    def process(self, context: Context):
        os.close(0)
        return {"out": str(os.getpid())}

class Pools(Node):
    text: In[str]
    out: Out[str]

    def gen_process(self, context: Context):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            yield "out", " ".join(str(process.pid) for process in [multiprocessing.current_process(), *pool._pool])
            pool.map(time.sleep, [3600, 3600])
"""

PROGRAM = """
import os, pathlib, signal
from lanemesh_orchestrator import SyncMesh

with SyncMesh(nodes=["nodes.py"], spread="service") as mesh:
    [server] = mesh.run(pathlib.Path("closes_input.pipe"), input="x").values()
    child = os.fork()
    if not child:
        signal.pause()
    print(server, child, flush=True)
    signal.pause()
"""


def pipeline(folder: Path, provider: str, **more: Any) -> str:
    """Writes the nodes and a pipeline with one of them, and returns its name."""
    (folder / "nodes.py").write_text(NODES)
    node = {"id": "node_1", "provider": provider, "input": [{"lane": "text", "from": "chat_1"}], **more}
    out = {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "node_1"}]}
    document = {"components": [{"id": "chat_1", "provider": "chat"}, node, out]}
    (folder / f"{provider}.pipe").write_text(json.dumps(document))
    return f"{provider}.pipe"


def run(folder: Path, pipe: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs a pipeline by the command line, to its end."""
    command = [str(LANEMESH), "run", pipe, "--nodes", "nodes.py", "--input", "x", *more]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SOON)


def wait_for_end(process: int) -> None:
    """Waits until a process that is no child of this one has ended; it may still be listed."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor):
        assert select.select([descriptor], [], [], SOON)[0], f"the process {process} goes on"


HOW = pytest.mark.parametrize(
    ("more", "options"),
    [({}, ()), ({}, ("--spread",)), ({"isolation": "process"}, ())],
    ids=["embedded", "spread", "isolated"],
)


@HOW
def test_a_thread_that_is_left_is_named_and_holds_nothing_up(
    tmp_path: Path, more: dict[str, str], options: tuple[str, ...]
) -> None:
    done = run(tmp_path, pipeline(tmp_path, "leaves_thread", **more), *options)

    assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr
    assert f"the thread 'keeper' (in never_ends at {tmp_path / 'nodes.py'}:6)" in done.stderr


@pytest.mark.parametrize("more", [{}, {"isolation": "process"}], ids=["embedded", "isolated"])
def test_a_thread_of_to_thread_does_not_hide_the_error(tmp_path: Path, more: dict[str, str]) -> None:
    done = run(tmp_path, pipeline(tmp_path, "fails_beside_thread", **more))

    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "ValueError: the reason" in done.stderr


def test_a_process_that_is_left_is_named_and_ended(tmp_path: Path) -> None:
    done = run(tmp_path, pipeline(tmp_path, "leaves_process"))

    assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr
    assert "('worker')" in done.stderr


def test_a_node_server_with_a_thread_ends_by_sigterm(tmp_path: Path) -> None:
    (tmp_path / "nodes.py").write_text(
        NODES + '\nthreading.Thread(target=never_ends, name="keeper").start()\nprint("loaded", flush=True)\n'
    )
    command = [str(LANEMESH), "node", "--nodes", "nodes.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        while "listens on" not in server.stderr.readline():
            pass
        server.terminate()
        log = server.stderr.read()

    assert server.returncode == 0, log
    assert "the thread 'keeper' (in never_ends at" in log


def test_standard_input_of_a_node_server_is_empty(tmp_path: Path) -> None:
    done = run(tmp_path, pipeline(tmp_path, "reads_input"), "--spread")

    assert (done.returncode, done.stdout) == (0, "nothing to read\n"), done.stderr


@pytest.mark.waits
def test_a_node_server_whose_standard_input_is_closed_ends_with_its_killed_parent_but_not_with_a_fork_of_it(
    tmp_path: Path,
) -> None:
    pipeline(tmp_path, "closes_input")
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        server, child = map(int, program.stdout.readline().split())
        program.kill()
        try:
            wait_for_end(server)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
@HOW
def test_the_workers_of_a_pool_end_with_the_process_that_forked_them(
    tmp_path: Path, more: dict[str, str], options: tuple[str, ...]
) -> None:
    pipe = pipeline(tmp_path, "pools", **more)
    command = [str(LANEMESH), "run", pipe, "--nodes", "nodes.py", "--input", "x", *options]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        parent, *workers = map(int, process.stdout.readline().split())
        os.kill(parent, signal.SIGKILL)
        for worker in workers:
            wait_for_end(worker)
        process.kill()
