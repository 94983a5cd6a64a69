"""L0 of a run before its start: describe, place and connect."""

from __future__ import annotations

import asyncio

from grpc_health.v1 import health_pb2, health_pb2_grpc
from lanemesh.faults import Code
from lanemesh.v1 import fault_pb2, lane_pb2, node_pb2

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, WAIT_SECONDS, Miss, check, expect
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.frames import fault_shown, faults_shown, shown
from lanemesh_orchestrator.conformance.hosting import CANCEL_SECONDS, coded
from lanemesh_orchestrator.conformance.places import instance, place

PORTS = {
    "conformance_echo": (("text",), ("out",)),
    "conformance_source": ((), ("out",)),
    "conformance_sink": (("text",), ()),
    "conformance_count": (("text",), ("out",)),
    "conformance_slow": (("text",), ("out",)),
    "conformance_fail": (("text",), ("out",)),
    "conformance_first": (("text",), ("out",)),
}
"""The inputs and outputs of the node types that a server offers for L0. All are of lane type text."""


@check("L0", "describe", "Describe lists the node types of the test with their ports.", rule="Describe")
async def describe(driver: Driver) -> None:
    for provider, (inputs, outputs) in PORTS.items():
        manifest = driver.manifests.get(provider)
        if manifest is None:
            raise Miss(f"a manifest of {provider}", ", ".join(sorted(driver.manifests)) or "no manifest")
        came = (tuple(port.name for port in manifest.inputs), tuple(port.name for port in manifest.outputs))
        expect(came == (inputs, outputs), f"{provider} with inputs {inputs} and outputs {outputs}", came)
        types = [(port.name, port.lane_type) for port in manifest.inputs]
        types += [(port.name, port.lane_type) for port in manifest.outputs]
        for name, lane_type in types:
            is_text = lane_type == lane_pb2.LANE_TYPE_TEXT
            expect(is_text, f"{provider}.{name} of LANE_TYPE_TEXT", lane_pb2.LaneType.Name(lane_type))


@check("L0", "describe-version", "Describe reports the protocol version and an instance id.", rule="Describe")
async def describe_version(driver: Driver) -> None:
    first, second = await driver.describe(), await driver.describe()
    expect(first.protocol_version >= 1, "protocol_version 1 or above", first.protocol_version)
    expect(first.instance_id, "an instance_id", "an empty one")
    same = first.instance_id == second.instance_id
    expect(same, "the same instance_id in each answer", f"{first.instance_id}, then {second.instance_id}")


@check("L0", "health", "grpc.health.v1 reports SERVING for the server and for NodeService.", rule="Describe")
async def health(driver: Driver) -> None:
    stub = health_pb2_grpc.HealthStub(driver.channel)
    for service in ("", "lanemesh.v1.NodeService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_SECONDS)
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        expect(name == "SERVING", f'SERVING for "{service}"', name)


@check("L0", "place", "`place` is answered by `placed` without faults.", rule="Host")
async def place_well(driver: Driver) -> None:
    driver.needs("conformance_echo")
    run_id, host = driver.run_id(), driver.host()
    parts = (instance("conformance_echo"), driver.edge_in(), driver.edge_out())
    await host.place_well(place(run_id, *parts))
    await asyncio.sleep(QUIET_SECONDS)
    expect(len(host.frames) == 1, "nothing after `placed` before `connect`", shown(host.frames[-1]))


@check("L0", "place-unknown-provider", "A node type that it lacks is a fault of `placed`.", rule="Host")
async def place_unknown_provider(driver: Driver) -> None:
    faults = await driver.host().place(place(driver.run_id(), instance("conformance_no_such_type")))
    expect(len(faults) == 1, "one fault", faults_shown(faults))
    coded(faults[0], Code.NOT_FOUND, "unknown-provider", "a fault of `placed`")


@check("L0", "place-bad-config", "A config that its node type refuses is a fault of `placed`.", rule="Host")
async def place_bad_config(driver: Driver) -> None:
    driver.needs("conformance_source")
    for config in ({"count": -1}, {"count": "many"}, {"no-such-setting": 1}):
        part = place(driver.run_id(), instance("conformance_source", config=config), driver.edge_out())
        faults = await driver.host().place(part)
        expect(len(faults) == 1, f"one fault for the config {config}", faults_shown(faults))
        coded(faults[0], Code.INVALID_ARGUMENT, "bad-config", f"a fault for the config {config}")


@check("L0", "place-all-faults", "`placed` lists the faults of all instances.", rule="Host")
async def place_all_faults(driver: Driver) -> None:
    driver.needs("conformance_source")
    parts = (
        instance("conformance_no_such_type", "one"),
        instance("conformance_source", "two", {"count": -1}),
        instance("conformance_source", "three"),
    )
    faults = await driver.host().place(place(driver.run_id(), *parts))
    came = sorted(fault.details["component"] for fault in faults)
    expect(
        came == ["one", "two"], 'faults with the details component "one" and "two"', f"{came}: {faults_shown(faults)}"
    )


@check("L0", "place-missing-feature", "A feature in `place` that it lacks is a fault of `placed`.", rule="Features")
async def place_missing_feature(driver: Driver) -> None:
    driver.needs("conformance_source")
    part = place(driver.run_id(), instance("conformance_source"), driver.edge_out(), features=["no-such-feature"])
    faults = await driver.host().place(part)
    expect(len(faults) == 1, "one fault", faults_shown(faults))
    coded(faults[0], Code.FAILED_PRECONDITION, "missing-feature", "a fault of `placed`")
    expect("no-such-feature" in faults[0].message, "a message that names the feature", faults[0].message)


@check("L0", "place-again", "A run that it hosts already is rejected; the hosted one goes on.", rule="Host")
async def place_again(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        faults = await driver.host().place(place(run.id, instance("conformance_echo"), *run.edges))
        expect(len(faults) == 1, "one fault", faults_shown(faults))
        coded(faults[0], Code.ALREADY_EXISTS, "run-exists", "a fault of `placed`")
        await run.input.texts("a")
        await run.output.items(1)


@check("L0", "not-placed", "`connect` and `start` before `place` are answered by faults.", rule="Host")
async def not_placed(driver: Driver) -> None:
    host = driver.host()
    await host.connect()
    faults = await host.connected()
    expect(len(faults) == 1, "one fault of `connected`", faults_shown(faults))
    coded(faults[0], Code.FAILED_PRECONDITION, "not-placed", "a fault of `connected`")
    other = driver.host()
    await other.start()
    faults = await other.finished()
    expect(len(faults) == 1, "one fault of `finished`", faults_shown(faults))
    coded(faults[0], Code.FAILED_PRECONDITION, "not-placed", "a fault of `finished`")


@check(
    "L0",
    "start-not-connected",
    "`start` before `connected` ends the run with a fault of `finished`; it may be placed again.",
    rule="Host",
)
async def start_not_connected(driver: Driver) -> None:
    driver.needs("conformance_source")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_out()
    await host.place_well(place(run_id, instance("conformance_source"), edge))
    await host.start()
    faults = await host.finished(CANCEL_SECONDS)
    expect(len(faults) == 1, "one fault of `finished`", faults_shown(faults))
    coded(faults[0], Code.FAILED_PRECONDITION, "not-placed", "a fault of `finished`")
    expect(not driver.neighbour.has_lane(run_id, edge.id), "no lane", "`open`")
    await driver.host().place_well(place(run_id, instance("conformance_source"), edge))


@check("L0", "connect-twice", "A second `connect` is answered by a fault; the run goes on.", rule="Host")
async def connect_twice(driver: Driver) -> None:
    driver.needs("conformance_echo")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_in()
    edge_out = driver.edge_out()
    await host.place_well(place(run_id, instance("conformance_echo"), edge, edge_out))
    run = await driver.wire(run_id, host, [edge, edge_out])
    await host.connect()
    await host.until(lambda: len(host.of("connected")) == 2, "a second `connected`")
    faults = list(host.of("connected")[1].faults)
    expect(len(faults) == 1, "one fault of the second `connected`", faults_shown(faults))
    coded(faults[0], Code.FAILED_PRECONDITION, "not-placed", "a fault of the second `connected`")
    await host.start()
    await run.input.texts("a")
    await run.output.items(1)


@check("L0", "start-twice", "A second `start` ends the run with a fault of its only `finished`.", rule="Host")
async def start_twice(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.input.texts("a")
        await run.output.items(1)
        await run.host.start()
        faults = await run.host.finished(CANCEL_SECONDS)
        primary = [fault for fault in faults if not fault.secondary]
        expect(len(primary) == 1, "one primary fault of `finished`", faults_shown(faults))
        coded(primary[0], Code.FAILED_PRECONDITION, "not-placed", "a fault of `finished`")
        await run.output.ended(CANCEL_SECONDS)
        run.output.finish()
        await run.host.half_close()
        await run.host.status(seconds=CANCEL_SECONDS)
        expect(len(run.host.of("finished")) == 1, "one `finished`", f"{len(run.host.of('finished'))} of them")


@check("L0", "connect-opens", "`connect` opens each outgoing lane; `connected` follows `accepted`.", rule="Host")
async def connect_opens(driver: Driver) -> None:
    driver.needs("conformance_source")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_out(incarnation=7)
    await host.place_well(place(run_id, instance("conformance_source"), edge))
    await asyncio.sleep(QUIET_SECONDS)
    expect(not driver.neighbour.has_lane(run_id, edge.id), "no lane before `connect`", "`open`")
    await host.connect()
    lane = await driver.neighbour.lane(run_id, edge.id)
    expect(lane.open.lane_type == edge.lane_type, f"lane_type {edge.lane_type} in `open`", lane.open.lane_type)
    expect(lane.open.incarnation == 7, "the incarnation of the edge, 7, in `open`", lane.open.incarnation)
    expect(not lane.open.HasField("items"), "`open` without items", shown(lane_pb2.ExchangeRequest(open=lane.open)))
    await asyncio.sleep(QUIET_SECONDS)
    expect(not host.of("connected"), "no `connected` before `accepted`", "`connected`")
    await lane.accept(1)
    await host.connected_well()
    expect(lane.sent == 0, "no item before `start`", f"{lane.sent} items")
    lane.finish()


@check("L0", "connect-refused", "A lane that its consumer refuses is a fault of `connected`.", rule="Host")
async def connect_refused(driver: Driver) -> None:
    import grpc

    driver.needs("conformance_source")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_out()
    await host.place_well(place(run_id, instance("conformance_source"), edge))
    await host.connect()
    lane = await driver.neighbour.lane(run_id, edge.id)
    lane.finish(grpc.StatusCode.NOT_FOUND)
    _refused(await host.connected(), edge)


def _refused(faults: list[fault_pb2.Fault], edge: node_pb2.Edge) -> None:
    expect(len(faults) == 1, "one fault of `connected`", faults_shown(faults))
    right = faults[0].reason == "lane-refused" and faults[0].secondary and faults[0].details["lane"] == edge.id
    expect(right, f"a secondary fault lane-refused with the detail lane {edge.id}", fault_shown(faults[0]))


@check("L0", "connect-unreachable", "A consumer that cannot be reached is a fault of `connected`.", rule="Host")
async def connect_unreachable(driver: Driver) -> None:
    driver.needs("conformance_source")
    edge = driver.edge_out(consumer_address="127.0.0.1:1")
    host = driver.host()
    await host.place_well(place(driver.run_id(), instance("conformance_source"), edge))
    await host.connect()
    _refused(await host.connected(12), edge)
