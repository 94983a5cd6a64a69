"""When nodes fire and what a firing sees, in whole runs: over memory, and over gRPC between processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from lanemesh.client.results import RunResult
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from rigs.runs import (
    Component,
    chat,
    ended,
    lane,
    line,
    lines,
    node,
    node_update,
    pipeline,
    response,
    states,
    until,
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(30)]

COMPLETED, FAILED = update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED


def directed(taker: Component, journal: Path) -> dict[str, Any]:
    """A director "a" before a taker "b" with the inputs left and right."""
    taker["input"] = [lane("a", output="left", input="left"), lane("a", output="right", input="right")]
    return pipeline(chat(), node("a", "director", "chat", journal=str(journal)), taker, response("b"))


async def pairs(mesh: Mesh, provider: str, journal: Path, script: str) -> tuple[str, ...]:
    """What a pairing node fires on when its inputs come by the script."""
    document = directed(node("b", provider, journal=str(journal)), journal)
    result = await mesh.run(document, input=script).result()
    assert result.state == "completed", result.error
    return result.values


def failed(result: RunResult) -> str:
    """The message with which a run failed."""
    assert result.state == "failed"
    assert result.error is not None
    return result.error.message


def alive(pid: int) -> bool:
    """The process may still do something."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(journal: Path, processes: int) -> None:
    """Waits for the ends of the processes that have begun something, and sees that they do not do what they would do now."""
    journal.with_name("journal.go").touch()
    begun = lines(journal)
    assert len(begun) == processes
    await until(lambda: not any(alive(int(line.split()[1])) for line in begun), 1)
    assert lines(journal) == begun


@pytest.mark.conformance("FIRE-01")
@pytest.mark.parametrize("kind", ["process", "generate", "run"])
async def test_without_inputs_a_node_fires_once(mesh: Mesh, kind: str) -> None:
    document = pipeline(chat(), node("a", f"alone_{kind}"), node("b", "tag", "chat"), response("a", "b"))
    result, updates = await ended(mesh.run(document, input="x"))
    assert sorted(result.values) == ["once", "x"]
    assert node_update(updates, "a").firings == 1


@pytest.mark.conformance("FIRE-02")
async def test_on_any_with_optional_inputs(mesh: Mesh, journal: Path) -> None:
    fired = await pairs(mesh, "pairing", journal, "a1 =1 b1 =2 a2 =3 b2")
    assert fired == ("a1,-", "a1,b1", "a2,b1", "a2,b2")


@pytest.mark.conformance("FIRE-03")
@pytest.mark.parametrize(
    ("script", "fired"),
    [("a1 b1 =1 a2 =2 b2", "a1,b1 a2,b1 a2,b2"), ("a1 a2 b1", "a1,b1 a2,b1"), ("b1 b2 a1", "a1,b1 a1,b2")],
)
async def test_on_any_with_required_inputs(mesh: Mesh, journal: Path, script: str, fired: str) -> None:
    assert await pairs(mesh, "pairing_both", journal, script) == tuple(fired.split())


@pytest.mark.conformance("FIRE-04")
@pytest.mark.parametrize("script", ["b1 a1 a2 a3", "a1 a2 b1 a3", "a1 a2 a3 b1"])
async def test_every_item_of_a_stream_fires_with_a_required_constant(mesh: Mesh, journal: Path, script: str) -> None:
    assert await pairs(mesh, "pairing_both", journal, script) == ("a1,b1", "a2,b1", "a3,b1")


@pytest.mark.conformance("FIRE-09", "FIRE-24")
@pytest.mark.parametrize("provider", ["routes", "routes_sync"])
async def test_a_generator_runs_once_per_set_and_routes_each_value_at_once(
    mesh: Mesh, journal: Path, provider: str
) -> None:
    """It would never end if its first value did not arrive before it yields the second."""
    script = journal.with_name("script")
    script.touch()
    routing = node("b", provider, journal=str(journal))
    routing["input"] = [lane("a", output="left", input="left"), lane("a", output="right", input="right")]
    document = pipeline(
        chat(),
        node("a", "director", "chat", journal=str(script)),
        routing,
        node("c", "notes", lane("b", output="first"), journal=str(journal)),
        response(lane("b", output="second")),
    )
    result, updates = await ended(mesh.run(document, input="a1 b1 a2"))
    assert (result.state, result.values) == ("completed", ("a1b1", "a2b1"))
    assert (lines(journal), node_update(updates, "b").firings) == (["a1b1", "a2b1", "end"], 2)


@pytest.mark.conformance("FIRE-13")
async def test_nothing_leaks_from_one_firing_to_the_next(mesh: Mesh) -> None:
    sticky = node("c", "sticky")
    sticky["input"] = [{"lane": "data", "from": "a", "input": "data"}, lane("b", input="none")]
    document = pipeline(chat(), node("a", "to_data", "chat"), node("b", "numbers", count=0), sticky, response("c"))
    result = await mesh.run(document, inputs=['{"n": 1}', '{"n": 2}']).result()
    assert result.state == "completed", result.error
    assert result.values == ("1 1 [] '' 0", "2 1 [] '' 0")


@pytest.mark.conformance("FIRE-14")
@pytest.mark.parametrize("wrong", ['"x"', "null", "[1]", "1.5", "true"])
async def test_a_value_of_the_wrong_type_fails_the_node(mesh: Mesh, wrong: str) -> None:
    whole = node("b", "whole_number")
    whole["input"] = [{"lane": "data", "from": "a"}]
    document = pipeline(chat(), node("a", "to_data", "chat"), whole, response("b"))
    result, updates = await ended(mesh.run(document, inputs=["1", wrong, "3"]))
    assert "the input b.data got" in failed(result)
    assert result.error is not None
    assert (result.error.reason, node_update(updates, "b").firings) == ("wrong-type", 1)
    assert result.values in (
        (),
        ("1",),
    )  # what was under way when it failed may be lost; the old value never comes again


@pytest.mark.conformance("FIRE-15")
@pytest.mark.parametrize(
    ("provider", "text", "told"),
    [
        ("wrong", "port", 'a has no output "nowhere"; its outputs: word'),
        ("wrong", "single", "a (wrong): gen_process yielded 'x'; yield (\"port\", value)"),
        ("wrong", "triple", "gen_process yielded ('word', 'x', 'y')"),
        ("wrong", "none", "gen_process yielded None"),
        ("wrong_result", "port", 'a has no output "nowhere"'),
        ("wrong_result", "text", "process returned str"),
        ("wrong_result", "list", "process returned list"),
    ],
)
async def test_what_is_no_pair_of_port_and_value_is_named(mesh: Mesh, provider: str, text: str, told: str) -> None:
    assert told in failed(await mesh.run(line(node("a", provider, "chat")), input=text).result())


@pytest.mark.conformance("FIRE-16")
async def test_complete_ends_only_the_lanes_of_that_port(mesh: Mesh, journal: Path) -> None:
    document = pipeline(
        chat(),
        node("a", "director", "chat", journal=str(journal)),
        node("b", "notes", lane("a", output="left"), journal=str(journal)),
        node("c", "tag", lane("a", output="right")),
        response("b", "c"),
    )
    result = await mesh.run(document, input="a1 /a =2 b1 b2").result()  # b ends before b1 is emitted
    assert (result.state, sorted(result.values)) == ("completed", ["a1", "b1", "b2"])
    assert lines(journal) == ["a1", "end"]


@pytest.mark.conformance("FIRE-17")
async def test_a_synchronous_body_that_sleeps_blocks_no_other_node(mesh: Mesh, journal: Path) -> None:
    """It sleeps until another node, beside it in an embedded mesh, has done its work."""
    document = pipeline(
        chat(),
        node("a", "sleepy_writer", "chat", journal=str(journal)),
        node("b", "notes", "chat", journal=str(journal)),
        response("a", "b"),
    )
    result = await mesh.run(document, input="x").result()
    assert (result.state, sorted(result.values)) == ("completed", ["slept", "x"])


@pytest.mark.conformance("FIRE-18")
async def test_a_timeout_stops_an_isolated_body(mesh: Mesh, journal: Path) -> None:
    document = line({**node("a", "apart", "chat", journal=str(journal)), "timeout": 0.2})
    result = await mesh.run(document, input="hang").result()
    assert failed(result) == "a: one firing took longer than its timeout of 0.2 s"
    await gone(journal, 1)


@pytest.mark.conformance("FIRE-18")
@pytest.mark.parametrize("provider", ["fallible_sync", "overlaps_sync"])
async def test_a_timeout_spares_quick_firings(mesh: Mesh, journal: Path, provider: str) -> None:
    config = {"journal": str(journal)} if provider == "overlaps_sync" else {}
    document = line({**node("a", provider, "chat", **config), "timeout": 5})
    texts = [str(number) for number in range(300)]
    assert (await mesh.run(document, inputs=texts).result()).values == tuple(texts)


@pytest.mark.conformance("FIRE-20")
@pytest.mark.parametrize("provider", ["overlaps", "overlaps_sync", "overlaps_generating"])
async def test_firings_overlap_keep_their_order_and_hold_no_more_than_their_window(
    mesh: Mesh, journal: Path, provider: str
) -> None:
    """The first firing ends when three more have begun, which they only can beside it; no further one begins before."""
    texts = ["slow", *(str(number) for number in range(20))]
    document = line({**node("a", provider, "chat", journal=str(journal), lines=4), "concurrency": 4})
    result = await mesh.run(document, inputs=texts).result()
    emitted = [each for text in texts for each in ([text, f"{text}!"] if "generating" in provider else [text])]
    assert (result.state, result.values) == ("completed", tuple(emitted))
    assert sorted(lines(journal)) == sorted(texts)


@pytest.mark.conformance("FIRE-20")
@pytest.mark.parametrize("provider", ["overlaps", "overlaps_sync", "overlaps_generating"])
async def test_a_slow_firing_holds_no_more_than_its_window(mesh: Mesh, journal: Path, provider: str) -> None:
    document = line({**node("a", provider, "chat", journal=str(journal), lines=5), "concurrency": 4})
    async with mesh.run(document, inputs=["slow", *"abcdefgh"]) as run:
        result = asyncio.create_task(run.result())
        await until(lambda: len(lines(journal)) == 4)
        await asyncio.sleep(0.05)  # time in which a fifth would begin
        assert len(lines(journal)) == 4
        assert not result.done()
        with journal.open("a") as file:
            file.write("go on\n")
        assert (await result).state == "completed"


@pytest.mark.conformance("FIRE-21")
async def test_a_generator_sees_a_control_value_in_the_middle_of_its_firing(mesh: Mesh, journal: Path) -> None:
    document = directed(node("b", "steered", journal=str(journal)), journal)
    result, updates = await ended(mesh.run(document, input="a1 =1 b1"))
    assert result.state == "completed"
    assert set(result.values[:-1]) <= {"a1"}
    assert result.values[-1] == "saw b1"
    assert node_update(updates, "b").firings == 2  # it was not taken: it fires as well


@pytest.mark.conformance("FIRE-23")
@pytest.mark.parametrize("settings", [{}, {"timeout": 10}, {"concurrency": 4}], ids=str)
async def test_a_plain_generator_has_one_thread_and_one_context(mesh: Mesh, settings: dict[str, Any]) -> None:
    texts = [str(number) for number in range(100)]
    result = await mesh.run(line({**node("a", "one_thread", "chat"), **settings}), inputs=texts).result()
    assert (result.state, result.values) == ("completed", tuple(f"{text} 0.3333" for text in texts for _ in range(2)))


@pytest.mark.conformance("RUN-06")
@pytest.mark.parametrize("provider", ["fallible", "fallible_sync"])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_failed_firing_is_skipped_and_counted(
    mesh: Mesh, journal: Path, provider: str, concurrency: int
) -> None:
    config = {"journal": str(journal)} if provider == "fallible" else {}
    told = {"on_error": "skip", "concurrency": concurrency}
    result, updates = await ended(
        mesh.run(line({**node("a", provider, "chat", **config), **told}), inputs=["1", "bad", "2", "bad", "3"])
    )
    assert (result.state, result.values) == ("completed", ("1", "2", "3"))
    update = node_update(updates, "a")
    assert (update.firings, update.skipped_firings, update.retried_firings) == (5, 2, 0)
    logs = [update.log for update in updates if update.WhichOneof("kind") == "log"]
    assert [(log.level, log.message) for log in logs] == [
        (update_pb2.LOG_LEVEL_WARNING, f"firing {number} failed and was skipped: ValueError: cannot do bad")
        for number in (2, 4)
    ]


@pytest.mark.conformance("RUN-06")
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_failed_firing_is_retried_the_configured_number_of_times(
    mesh: Mesh, journal: Path, concurrency: int
) -> None:
    retry = {"on_error": {"retry": {"attempts": 3, "backoff": 0.01}}, "concurrency": concurrency}
    document = line({**node("a", "fallible", "chat", journal=str(journal)), **retry})
    result, updates = await ended(mesh.run(document, inputs=["1", "first", "2"]))
    assert (result.state, result.values) == ("completed", ("1", "first", "2"))
    assert (node_update(updates, "a").firings, node_update(updates, "a").retried_firings) == (3, 1)
    result, updates = await ended(mesh.run(document, inputs=["3", "bad", "4"]))
    assert failed(result) == "ValueError: cannot do bad"
    assert result.values == ("3",)
    assert lines(journal).count("bad") == 3


@pytest.mark.conformance("RUN-06")
async def test_a_firing_that_has_emitted_is_not_tried_again(mesh: Mesh, journal: Path) -> None:
    retry = {"on_error": {"retry": {"attempts": 3, "backoff": 0.01}}}
    document = line({**node("a", "fallible", "chat", journal=str(journal), emit_first=True), **retry})
    result, updates = await ended(mesh.run(document, inputs=["first"]))
    assert (failed(result), result.values) == ("ValueError: cannot do first", ("before first",))
    assert node_update(updates, "a").retried_firings == 0


@pytest.mark.timing
@pytest.mark.conformance("RUN-07")
async def test_a_cancelled_isolated_body_is_killed(mesh: Mesh, journal: Path) -> None:
    document = line({**node("a", "apart", "chat", journal=str(journal)), "concurrency": 2})
    async with mesh.run(document, inputs=["hang", "hang"], open_input=True) as run:
        waiting = asyncio.create_task(run.result())
        await until(lambda: len(lines(journal)) == 2)
        began = time.monotonic()
        await run.cancel("enough")
        await waiting
    assert time.monotonic() - began < 1
    await gone(journal, 2)


async def test_an_isolated_body_has_a_process_a_resource_and_a_log_of_its_own(mesh: Mesh) -> None:
    result, updates = await ended(mesh.run(line(node("a", "apart", "chat")), inputs=["x", "print"]))
    assert (result.state, result.values) == ("completed", ("x True MainThread", "print True MainThread"))
    assert any(update.WhichOneof("kind") == "progress" and update.progress.done == 1 for update in updates)


async def test_an_isolated_generator_streams(mesh: Mesh, journal: Path) -> None:
    document = pipeline(
        chat(),
        node("a", "apart_generating", "chat", journal=str(journal)),
        node("b", "notes", "a", journal=str(journal)),
        response("b"),
    )
    assert (await mesh.run(document, input="x").result()).values == ("x 1", "x 2")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exit", "a: the process of its isolated body ended with exit code 3 during a firing"),
        ("kill", "a: the process of its isolated body was ended by SIGKILL (signal 9) during a firing"),
        ("raise", "ValueError: a bad word"),
        ("gpu", "a (apart): its body is isolated"),
    ],
)
async def test_the_failure_of_an_isolated_body_is_reported(embedded: Mesh, text: str, told: str) -> None:
    result = await embedded.run(line(node("a", "apart", "chat")), inputs=["x", text, "y"]).result()
    assert failed(result).startswith(told)
    assert result.values == ("x True MainThread",)


async def test_after_an_isolated_body_has_died_others_go_on_in_another_process(embedded: Mesh) -> None:
    document = line({**node("a", "apart", "chat"), "on_error": "skip"})
    result, updates = await ended(embedded.run(document, inputs=["1", "exit", "2"]))
    assert result.values == ("1 True MainThread", "2 True MainThread")
    assert node_update(updates, "a").skipped_firings == 1


async def test_an_isolated_body_that_stands_still_is_killed_too(embedded: Mesh, journal: Path) -> None:
    document = line(node("a", "apart", "chat", journal=str(journal)))
    async with embedded.run(document, input="hang", open_input=True) as run:
        waiting = asyncio.create_task(run.result())
        await until(lambda: len(lines(journal)) == 1)
        pid = int(lines(journal)[0].split()[1])
        os.kill(pid, signal.SIGSTOP)
        await run.cancel()
        await waiting
    await gone(journal, 1)


async def test_a_run_node_that_declares_it_sends_one_item(mesh: Mesh) -> None:
    document = line(node("a", "one", "chat"))
    assert (await mesh.run(document, inputs=["x", "y"]).result()).values == ("x y",)
    result, updates = await ended(mesh.run(line(node("a", "one", "chat", items=2)), inputs=["x"]))
    assert failed(result).startswith('a emitted a second item by its output "one"')
    assert states(updates, "a")[-1] == "FAILED"
