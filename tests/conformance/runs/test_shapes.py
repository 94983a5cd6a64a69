"""What a mesh and a client return and raise is the same value, whatever runs the pipeline: embedded, spread and remote."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

import pytest
from lanemesh import Client, Deployed, LanemeshError, Mesh, PipelineFault, RunFailed
from lanemesh.client.run_host import RunHost

from rigs.inside import inside, protobuf_in
from rigs.runs import line, node

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+")) | {"name": "tagging"}
FAIL = line(node("a", "fail", "chat"))
HANG = line(node("a", "hang", "chat"))
WRONG = line(node("a", "tagg", "chat"))
VARIABLE = line(node("a", "tag", "chat", mark="${MARK}"))

Scenario = Callable[[RunHost], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Adds a use of the interface, whose outcome is the same everywhere."""
    SCENARIOS[function.__name__] = function
    return function


async def outcome(call: Awaitable[Any]) -> Any:
    """What a call returns, or what it raises, as values."""
    try:
        return await call
    except LanemeshError as error:
        fault, faults = error.fault, without_hints(getattr(error, "faults", ()))
        text = (
            fault.reason if faults else str(error)
        )  # the text of an invalid pipeline has the hints of the first faults
        return type(error).__name__, text, fault.code, fault.reason, fault.secondary, faults
    except (TypeError, ValueError, KeyError) as error:
        return type(error).__name__, str(error)


def without_hints(faults: Iterable[PipelineFault]) -> tuple[PipelineFault, ...]:
    """Faults without their hints, which may name the address of the mesh."""
    return tuple(dataclasses.replace(fault, hint="") for fault in faults)


@scenario
async def completed_run(host: RunHost) -> Any:
    run = host.run(TAG, inputs=["1", "2"])
    result = await run.result()
    run.raise_unless_completed()
    result.raise_for_state()
    return result.state, result.values, result.text, result["out"], result.error, result.reason, result.missed


@scenario
async def outputs_of_a_run(host: RunHost) -> Any:
    outputs = await host.run(TAG, input="1").outputs()
    return [(one.component, one.port, one.lane, one.value, one.group, one.metadata) for one in outputs]


@scenario
async def failed_run(host: RunHost) -> Any:
    result = await host.run(FAIL, input="bad").result()
    run = host.run(FAIL, input="bad")
    with pytest.raises(RunFailed) as raised:
        await run.text()
    assert raised.value.fault == dataclasses.replace(result.error, details=raised.value.fault.details)  # type: ignore[type-var]
    details = {name: value for name, value in raised.value.fault.details.items() if name != "server"}
    fault = raised.value.fault
    return (
        result.state,
        result.reason,
        fault.code,
        fault.reason,
        fault.message,
        details,
        fault.traceback,
        fault.secondary,
    )


@scenario
async def every_view_of_a_failed_run_raises(host: RunHost) -> Any:
    views: list[Callable[[Any], Any]] = [
        lambda run: run.text(),
        lambda run: run.values(),
        lambda run: run.outputs(),
        lambda run: run.tools(),
        lambda run: run.nodes(),
        lambda run: run.json(),
    ]
    raised = []
    for view in views:
        run = host.run(FAIL, input="bad")
        with pytest.raises(RunFailed) as error:
            await view(run)
        raised.append((type(error.value), error.value.fault.reason))
    return raised


@scenario
async def cancelled_run(host: RunHost) -> Any:
    async with host.run(HANG, input="x") as run:
        await run.cancel("enough")
        result = await run.result()
    with pytest.raises(RunFailed) as raised:
        result.raise_for_state()
    fault = raised.value.fault
    return result.state, result.reason, result.error, fault.code, fault.reason, str(fault.message).replace(run.id, "ID")


@scenario
async def detached_run(host: RunHost) -> Any:
    run = await host.start(TAG, input="1", open_input=True)
    refused = await outcome(run.push({"a": 1}))
    await run.push("2")
    await run.end_input()
    result = await host.attach(run.id).result()
    ended = await outcome(run.push("3"))
    return [str(one).replace(run.id, "ID") for one in (result.state, result.values, run.missed, refused, ended)]


@scenario
async def pushes(host: RunHost) -> Any:
    async with host.run(TAG, open_input=True) as run:
        assert run.id
        refused = [await outcome(run.push({"a": 1})), await outcome(run.push("x", "nowhere"))]
        await run.push("1")
        await run.end_input()
        late = await outcome(run.push("2"))  # the run has ended by then, or only its input has
        assert {"input-ended", "run-ended"} & set(map(str, late))
        values = await run.values()
    closed = await outcome(host.run(TAG, input="1").push("2"))
    return values, closed, [str(one).replace(run.id, "ID") for one in refused]


@scenario
async def invalid_pipelines(host: RunHost) -> Any:
    faults = without_hints(await host.validate(WRONG))
    raised = [
        await outcome(host.run(WRONG, input="x").result()),
        await outcome(host.start(WRONG, input="x")),
        await outcome(host.deploy("wrong", WRONG)),
        await outcome(host.run(TAG, settings={"a.marc": 1}).result()),
    ]
    assert [one[0] for one in raised] == ["PipelineInvalid"] * 4
    assert raised[0][-1] == faults
    many = line(*(node(f"n{number}", "tagg", "chat") for number in range(200)))
    _, text, *_, all_faults = await outcome(host.start(many, input="x"))
    assert all_faults == without_hints(await host.validate(many))
    return faults, raised, text, all_faults


@scenario
async def no_pipelines(host: RunHost) -> Any:
    return [
        await outcome(host.validate("{")),
        await outcome(host.start("[]")),
        await outcome(host.start(TAG, input="x", timeout=0)),
        await outcome(host.start(TAG, input="x", inputs=["y"])),
        await outcome(host.start(TAG, inputs="x")),
        await outcome(host.start(TAG, input=object())),
        await outcome(host.start(TAG, input="x", trace="all")),  # type: ignore[arg-type]
    ]


@scenario
async def variables(host: RunHost) -> Any:
    sent = {"MARK": "*"}
    found = [
        await host.run(VARIABLE, input="x", variables=sent).values(),
        (await (await host.start(VARIABLE, input="x", variables=sent)).result()).values,
        await host.validate(VARIABLE, variables=sent),
        [(fault.pointer, fault.reason) for fault in await host.validate(VARIABLE)],
        (await outcome(host.run(VARIABLE, input="x").result()))[0],
        await outcome(host.run(VARIABLE, input="x", variables={"no name": "x"}).result()),
        await outcome(host.run(VARIABLE, input="x", variables={f"V{number}": "" for number in range(257)}).result()),
        await outcome(host.run(VARIABLE, input="x", variables={"MARK": "x" * 300_000}).result()),
        await outcome(host.validate(VARIABLE, variables={"no name": "x"})),
        await host.run(TAG, input="x", settings={"a.mark": "${MARK}"}, variables=sent).values(),
        await host.run(line(node("a", "tag", "chat", mark="$${MARK}")), input="x").values(),
    ]
    await host.deploy("marked", VARIABLE, variables=sent)
    found.append(await host.run(Deployed("marked"), input="x").values())
    found.append(await host.run(Deployed("marked"), input="x", variables={"MARK": "~"}).values())
    await host.undeploy("marked")
    return found


@scenario
async def records(host: RunHost) -> Any:
    found = []
    for document, given in ((TAG, "1"), (FAIL, "bad")):
        run = await host.start(document, input=given)
        await run.result()
        record = await host.record(run.id)
        assert [(one.run_id, one.state) for one in await host.runs(limit=1)] == [(record.run_id, record.state)]
        found.append(
            {name: getattr(record, name) for name in ("name", "state", "reason", "detached", "trace", "output_count")}
        )
        found.append({"pipeline_json": record.pipeline_json, "error": record.error and record.error.message})
        assert all(isinstance(time, datetime) for time in (record.created_at, record.started_at, record.ended_at))
    return found, await outcome(host.record("run-0")), await outcome(host.attach("run-0").result())


@scenario
async def deployments(host: RunHost) -> Any:
    deployed = await host.deploy("tagging", TAG, timeout=60)
    (listed,) = [one for one in await host.deployments() if one.name == "tagging"]
    (named, run) = (await host.deployment("tagging"), host.run(Deployed("tagging"), input="1"))
    values = await run.values()
    record = await host.record(run.id)
    assert dataclasses.replace(named, pipeline_json="") == listed == deployed
    assert [one.run_id for one in await host.runs(deployment="tagging", limit=1)] == [run.id]
    missing = [
        await outcome(host.deployment("tagging", 7)),
        await outcome(host.deployment("other")),
        await outcome(host.run(Deployed("other"), input="x").result()),
        await outcome(host.deploy("No Name", TAG)),
    ]
    await host.undeploy("tagging")
    missing.append(await outcome(host.undeploy("tagging")))
    shown = (deployed.name, deployed.version, deployed.state, deployed.detail, named.pipeline_json, record.deployment)
    return shown, values, missing


@scenario
async def node_types(host: RunHost) -> Any:
    return await host.node_types(["tag", "chat", "agent", "llm_scripted"])


@scenario
async def channels(host: RunHost) -> Any:
    mesh = host.channels(name="one")
    async with mesh.subscribe("mesh:news", limit=4) as news:
        sent = await host.channels(name="two").publish("mesh:news", {"a": [1]})
        got = await anext(news.with_publishers())
    missing = [await outcome(host.channels("run-0").publish("x", 1)), await outcome(mesh.publish("mesh:x", object()))]
    return sent, got, news.dropped, news.waiting_count, missing


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_mesh_and_a_client_return_and_raise_the_same(
    name: str, embedded: Mesh, spread: Mesh, client: Client
) -> None:
    expected = await SCENARIOS[name](embedded)

    assert await SCENARIOS[name](spread) == expected
    assert await SCENARIOS[name](client) == expected


async def test_no_value_that_a_mesh_or_a_client_returns_is_of_protobuf(host: RunHost) -> None:
    run = host.run(TAG, inputs=["1", "2"], trace="full")
    deployed = await host.deploy("plain", TAG)
    returned = [
        await run.updates(),
        await (await host.start(TAG, input="1")).result(),
        await host.runs(),
        await host.record(run.id),
        await host.validate(WRONG),
        deployed,
        await host.deployments(),
        await host.deployment("plain"),
        await host.node_types(),
        await host.node_servers(),
    ]
    await host.undeploy("plain")

    assert len(list(inside(returned))) > 500
    assert protobuf_in(returned) == []
