"""Runs without `await`: in this process and by a client, from threads, in notebooks, interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lanemesh import JobUpdate, LanemeshError, Pipeline, RunFailed, SyncClient
from lanemesh._aio.loop_thread import LoopThread
from lanemesh.client.sync import SyncHost
from lanemesh_orchestrator import SyncMesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.inside import protobuf_in
from rigs.misbehaving_nodes import NoText, Panic

BROKEN = '{"components": [{"id": "a", "provider": "chta"}]}'


def upper() -> Pipeline:
    """What comes in, in upper case."""
    pipeline = Pipeline()
    chat, node = pipeline.add("chat"), pipeline.add("upper_case")
    chat.text >> node.text
    node.text >> pipeline.add("response", lane="text").text
    return pipeline


@pytest.fixture(scope="module")
def mesh() -> Iterator[SyncMesh]:
    with SyncMesh() as mesh:
        yield mesh


@pytest.fixture(scope="module")
def client() -> Iterator[SyncClient]:
    """A client of an orchestrator whose event loop is in another thread."""
    loop = LoopThread("orchestrator")
    orchestrator = Orchestrator(embedded=True)
    loop.call(orchestrator.listen())
    with SyncClient(orchestrator.address) as client:
        yield client
    loop.call(orchestrator.close())
    loop.stop()


@pytest.fixture(params=["mesh", "client"])
def host(request: pytest.FixtureRequest) -> SyncHost:
    found: SyncHost = request.getfixturevalue(request.param)
    return found


def test_outputs_updates_and_results_come_without_await(host: SyncHost) -> None:
    assert host.validate(upper()) == []
    assert list(host.run(upper(), inputs=["a", "b"]).values()) == ["A", "B"]
    result = host.run(upper(), input="a").result()
    assert (result.state, result.values) == ("completed", ("A",))
    updates = list(host.run(upper(), input="a").updates())
    assert isinstance(updates[-1], JobUpdate)
    assert updates[-1].state == "completed"
    assert {manifest.provider for manifest in host.node_types()} >= {"chat", "upper_case"}
    assert host.node_servers() == []


def test_no_value_that_comes_without_await_is_of_protobuf(host: SyncHost) -> None:
    run = host.run(upper(), input="a")
    updates = list(run.updates())
    deployed = host.deploy("plain", upper())
    records = [host.record(run.id), *host.runs()]
    returned = [updates, records, deployed, host.deployments(), host.deployment("plain"), host.validate(BROKEN)]
    returned += [host.node_types(), host.node_servers(), host.start(upper(), input="a").result()]
    host.undeploy("plain")

    assert protobuf_in(returned) == []


def test_inputs_are_pushed_while_outputs_are_read(host: SyncHost) -> None:
    with host.run(upper(), open_input=True) as run:
        outputs = run.values()
        for word in ("one", "two"):
            run.push(word)
            assert next(outputs) == word.upper()
        run.end_input()
        assert list(outputs) == []
        assert (run.state, run.reason, run.missed) == ("completed", "", 0)


def test_an_iterator_of_inputs_may_wait(host: SyncHost) -> None:
    """Its second value is there only once the first has come back."""
    back = threading.Event()

    def inputs() -> Iterator[str]:
        yield "one"
        assert back.wait(10)
        yield "two"

    outputs = host.run(upper(), inputs=inputs()).values()
    assert next(outputs) == "ONE"
    back.set()
    assert list(outputs) == ["TWO"]


def test_a_run_that_is_cancelled_has_its_reason(host: SyncHost) -> None:
    run = host.run(upper(), open_input=True).start()
    run.cancel("enough")
    with pytest.raises(RunFailed, match="enough"):
        list(run.values())
    assert (run.state, run.reason) == ("cancelled", "enough")


def test_a_detached_run_is_found_and_fed_by_its_id(host: SyncHost) -> None:
    run = host.start(upper(), input="one", open_input=True)
    again = host.attach(run.id)
    again.push("two")
    again.end_input()
    assert again.result().values == ("ONE", "TWO")
    assert list(run.values()) == ["ONE", "TWO"]


def test_who_leaves_early_cancels_its_run_alone(mesh: SyncMesh) -> None:
    run = mesh.run(upper(), inputs=["a"], open_input=True)
    for _ in run.values():
        break
    detached = mesh.start(upper(), inputs=["a"], open_input=True)
    for _ in detached.values():
        break
    assert mesh.attach(run.id).result().state == "cancelled"
    detached.end_input()
    assert detached.result().state == "completed"


@pytest.mark.parametrize("inputs", [{"a": 1}, 5, bytearray(b"x"), "x"])
def test_a_single_value_is_no_inputs_and_starts_no_run(host: SyncHost, inputs: Any) -> None:
    before = len(host.runs())

    with pytest.raises(TypeError, match="inputs must be iterable"):
        host.run(upper(), inputs=inputs).result()
    with pytest.raises(ValueError, match="either input or inputs"):
        host.run(upper(), input="x", inputs=iter("x")).result()
    assert len(host.runs()) == before


def test_errors_are_those_of_the_asynchronous_ones(host: SyncHost) -> None:
    with pytest.raises(LanemeshError, match="unknown-provider"):
        host.run(BROKEN).start()
    with pytest.raises(LanemeshError, match="unknown-provider"):
        host.start(BROKEN)
    with pytest.raises(TypeError, match="inputs must be iterable"):
        host.run(upper(), inputs="text")
    assert [fault.reason for fault in host.validate(BROKEN)] == ["unknown-provider"]


async def test_it_works_where_an_event_loop_runs(host: SyncHost) -> None:
    assert list(host.run(upper(), input="in a notebook").values()) == ["IN A NOTEBOOK"]


async def test_a_mesh_is_made_and_closed_where_an_event_loop_runs() -> None:
    with SyncMesh() as mesh:
        assert mesh.run(upper(), input="a").result().values == ("A",)


def test_several_threads_may_call_at_once(host: SyncHost) -> None:
    with ThreadPoolExecutor(8) as threads:
        texts = [f"text {number}" for number in range(40)]
        found = threads.map(lambda text: list(host.run(upper(), input=text).values()), texts)
        assert list(found) == [[text.upper()] for text in texts]


def test_ctrl_c_in_a_call_that_waits_cancels_the_run(host: SyncHost) -> None:
    run = host.run(upper(), inputs=["a"], open_input=True)
    outputs = run.values()
    assert next(outputs) == "A"
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        next(outputs)  # nothing more comes
    result = host.attach(run.id).result()
    assert (result.state, result.reason) == ("cancelled", "interrupted")
    assert list(host.run(upper(), input="b").values()) == ["B"]


def test_ctrl_c_while_a_detached_run_is_read_lets_it_go_on(host: SyncHost) -> None:
    run = host.start(upper(), open_input=True)
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        run.result()
    run.push("still there")
    run.end_input()
    assert run.result().values == ("STILL THERE",)


def started_since(before: list[threading.Thread]) -> set[str]:
    """The names of newer threads, except for the one that watches all event loops of the process."""
    return {thread.name for thread in threading.enumerate() if thread not in before} - {"lanemesh-blocking"}


def test_closing_ends_its_runs_and_its_thread() -> None:
    before = threading.enumerate()
    mesh = SyncMesh()
    run = mesh.run(upper(), open_input=True).start()
    outputs = run.values()
    mesh.close()
    mesh.close()
    assert started_since(before) == set()
    for call in (lambda: mesh.validate(upper()), lambda: run.push("x"), lambda: next(outputs)):
        with pytest.raises(LanemeshError, match="closed"):
            call()


def test_a_mesh_that_cannot_be_made_leaves_nothing_behind() -> None:
    before = threading.enumerate()
    with pytest.raises(ValueError, match="spread"):
        SyncMesh("everywhere")  # type: ignore[arg-type]
    with pytest.raises(LanemeshError, match=r"nothing\.py"):
        SyncMesh(nodes="nothing.py")
    assert started_since(before) == set()


def test_a_call_from_its_own_loop_is_refused_instead_of_waiting_for_ever() -> None:
    loop = LoopThread("test")

    async def nothing() -> None: ...

    async def calls_itself() -> None:
        loop.call(nothing())

    with pytest.raises(LanemeshError, match="its own event loop"):
        loop.call(calls_itself())
    loop.stop()


@pytest.mark.parametrize("spread", ["None", '"service"'])
def test_a_program_that_closes_nothing_ends(spread: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from lanemesh_orchestrator import SyncMesh\n"
        f"mesh = SyncMesh({spread})\n"
        f"run = mesh.run({upper().to_json()!r}, open_input=True).start()\n"
        "run.push('a')\n"
        "outputs = run.values()\n"
        "print(next(outputs))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("A\n", "", 0)


def inputs_that_fail(error: BaseException) -> Iterator[str]:
    """One input, and then an error."""
    yield "x"
    raise error


@pytest.mark.parametrize("error", [Panic("index"), SystemExit(3), NoText()], ids=["panic", "exit", "no text"])
def test_inputs_that_fail_end_their_run_alone(host: SyncHost, error: BaseException) -> None:
    result = host.run(upper(), inputs=inputs_that_fail(error)).result()
    assert result.state == "cancelled"
    assert f"its inputs failed: {type(error).__name__}" in result.reason
    assert list(host.run(upper(), inputs=["a"]).values()) == ["A"]
