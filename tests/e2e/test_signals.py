"""Signals end a process whose event loop is blocked; forked children have the default ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import asyncio, time
from lanemesh._aio.signals import StopSignals

async def main():
    with StopSignals(*[lambda: None] * {steps}, last_seconds={seconds}, gave_up="gave up"):
        print("begun", flush=True)
        while True:
            time.sleep(0.01)

asyncio.run(main())
"""

FORKS = """
import asyncio, multiprocessing, os, signal
from lanemesh._aio.forks import close_in_children
from lanemesh._aio.signals import StopSignals

async def main():
    stop = asyncio.Event()
    reading, writing = os.pipe()
    held = os.fdopen(writing, "wb")
    close_in_children(held)
    with StopSignals(stop.set):
        child = os.fork()
        if not child:
            os.close(reading)
            print("default", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
            print("wakeup", signal.set_wakeup_fd(-1), flush=True)
            signal.pause()
            os._exit(0)
        held.close()
        await asyncio.to_thread(os.read, reading, 1)  # the child has closed its copy
        for _ in range(20):
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(abs, [-1])
        os.kill(child, signal.SIGTERM)
        print("ended by", -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        for _ in range(20):
            await asyncio.sleep(0)
        print("stopped", stop.is_set(), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("steps", [1, 2])
def test_the_signal_after_the_last_step_ends_a_process_whose_loop_is_blocked(steps: int) -> None:
    program = BLOCKED.format(steps=steps, seconds=None)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        while process.poll() is None:  # signals of one kind that wait are one
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)

    assert process.returncode == 130


def test_a_blocked_loop_ends_after_the_last_seconds() -> None:
    program = BLOCKED.format(steps=1, seconds=0.1)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == "gave up\n"

    assert process.returncode == 130


def test_a_forked_child_has_default_signals_and_reaches_no_loop_of_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60)

    assert done.stdout.splitlines() == ["default True", "wakeup -1", "ended by 15", "stopped False"], done.stderr


NODES = """
import asyncio, time
from lanemesh import Context, In, Node, Out

class Waits(Node):
    text: In[str]
    out: Out[str]

    async def process(self, context: Context):
        print("begun", flush=True)
        await asyncio.sleep(3600)

    async def finalize(self, context: Context):
        print("finalized", flush=True)

class BlocksUnload(Node):
    text: In[str]
    out: Out[str]

    @classmethod
    async def load(cls, config):
        return {}

    @classmethod
    async def unload(cls, resource):
        print("begun", flush=True)
        while True:
            time.sleep(0.01)

    async def process(self, context: Context):
        return {"out": self.text}
"""


def chat(folder: Path, provider: str) -> subprocess.Popen[str]:
    """Starts a chat with a node, gives it one line, and waits until the node has begun. It ends with the next line."""
    node = {"id": "node_1", "provider": provider, "input": [{"lane": "text", "from": "chat_1"}]}
    out = {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "node_1"}]}
    (folder / "nodes.py").write_text(NODES)
    (folder / "x.pipe").write_text(json.dumps({"components": [{"id": "chat_1", "provider": "chat"}, node, out]}))
    command = [str(Path(sys.executable).with_name("lanemesh")), "chat", "x.pipe", "--nodes", "nodes.py"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("x\n")
    process.stdin.flush()
    if provider == "blocks_unload":
        assert process.stdout.readline() == "x\n"
        process.stdin.close()
        process.stdin = None
    assert process.stdout.readline() == "begun\n"
    return process


def test_sigterm_ends_a_chat_in_order(tmp_path: Path) -> None:
    with chat(tmp_path, "waits") as process:
        process.terminate()
        printed, log = process.communicate(timeout=60)

    assert (process.returncode, printed) == (130, "finalized\n"), log


@pytest.mark.waits
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_chat_whose_unload_blocks(tmp_path: Path, number: signal.Signals) -> None:
    with chat(tmp_path, "blocks_unload") as process:
        process.send_signal(number)
        _, log = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "a node ignores its cancellation or blocks the event loop" in log


CLOSES = """
import signal
from lanemesh_orchestrator.cli.commands import chat

class Loop(chat.LoopThread):
    def start(self, work):
        future = super().start(work)
        signal.raise_signal(signal.SIGTERM)
        return future

class Session:
    async def close(self):
        print("closed")

signal.signal(signal.SIGTERM, chat._terminate)
with Loop() as loop:
    print(chat._close(loop, Session(), chat.ExitCode.COMPLETED).name)
"""


def test_a_signal_while_a_chat_begins_to_close_does_not_cut_the_close_off() -> None:
    done = subprocess.run([sys.executable, "-c", CLOSES], capture_output=True, text=True, timeout=60)

    assert done.stdout.splitlines() == ["closed", "INTERRUPTED"], done.stderr


INTERRUPTED_IMPORT = """
import runpy, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "lanemesh.server.node_server":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
runpy.run_module("lanemesh.server", run_name="__main__")
"""


def test_an_interrupt_of_a_node_server_that_still_imports_modules_shows_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_server_that_loads_node_types(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "nodes.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(3600)\n")
    command = [str(Path(sys.executable).with_name("lanemesh")), "node", "--nodes", "nodes.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait(60) == 130
