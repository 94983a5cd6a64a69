"""Converts a graph into one `Place` per node server."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lanemesh.features import FEATURES, Feature
from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_ITEMS, LOCAL_LIMIT_ITEMS
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.times import duration
from lanemesh.v1 import node_pb2, update_pb2

from lanemesh_orchestrator.pipeline.entries import Retry
from lanemesh_orchestrator.pipeline.graph import TRACE_LEVELS, Component, Control, Edge, Graph


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A node server, as peers reach it."""

    name: str
    """Its name, as in `Register`."""
    address: str
    """Where peers dial it: "host:port". Empty if it cannot be dialled: then it must be the only one."""
    incarnation: int = 0
    """The part of the run there: above 0 for components that were placed again."""
    features: Collection[str] = FEATURES
    """The supported optional features of the protocol."""


def plan(
    graph: Graph,
    servers: Mapping[str, ServerAddress],
    *,
    run_id: str,
    timeout: float | None = None,
    protocol_version: int = PROTOCOL_VERSION,
    traceparent: str = "",
    session: str = "",
    depth: int = 0,
    lane_key: bytes = b"",
    again: Collection[str] | None = None,
    done: Collection[str] = (),
) -> dict[str, node_pb2.Place]:
    """The `Place` of each server, by its name: its instances, every edge with an end there, and its invokers' connections.

    `servers` has the server of each component. `timeout`, in seconds, overrides the pipeline's own. Addresses are omitted if both
    ends are on one server, in the same part of the run. With `again` only these components, whose servers were lost, are placed,
    without their `done` edges. Only features that a server supports are used there: an edge is replayable or reopenable only if
    both its ends can recover, and items are traced where the server can. If all servers support it, lanes are opened at the start,
    and frames are merged, and lanes carry `lane_key`; with `again` it is empty if the run began without one. `traceparent` is the
    trace that the run belongs to, `session` its session, `depth` how many runs are above it.

    Raises:
        ValueError: a component has no server, two servers have one name, or a server that a lane must dial has no address.
    """
    if again is not None or done:
        templates = _plan(graph, servers, timeout, protocol_version, again, done, keyed=bool(lane_key))
    else:
        where = tuple(
            (name, server.name, server.address, server.incarnation, frozenset(server.features))
            for name, server in servers.items()
        )
        templates = graph.once(
            ("plan", where, timeout, protocol_version), lambda: _plan(graph, servers, timeout, protocol_version)
        )
    places: dict[str, node_pb2.Place] = {}
    for name, template in templates.items():
        place = places[name] = node_pb2.Place()
        place.CopyFrom(template)
        place.run_id, place.traceparent, place.session_id, place.depth = run_id, traceparent, session, depth
        if Feature.LANE_KEYS in place.features:
            place.lane_key = lane_key
    return places


def _plan(
    graph: Graph,
    servers: Mapping[str, ServerAddress],
    timeout: float | None,
    protocol_version: int,
    again: Collection[str] | None = None,
    done: Collection[str] = (),
    *,
    keyed: bool | None = None,
) -> Mapping[str, node_pb2.Place]:
    """The plan without what differs between runs. `keyed`: lanes prove that they belong to the run; None: if all servers can."""
    homeless = [name for name in graph.components if name not in servers]
    if homeless:
        raise ValueError(f"No node server is assigned to: {', '.join(homeless)}.")
    limit = timeout if timeout is not None else graph.timeout
    at_start = again is None and all(Feature.QUICK_STARTS in server.features for server in servers.values())
    merging = at_start and all(Feature.MERGED_FRAMES in server.features for server in servers.values())
    short_lanes = merging and all(Feature.SHORT_LANES in server.features for server in servers.values())
    if keyed is None:
        keyed = all(Feature.LANE_KEYS in server.features for server in servers.values())
    places: dict[str, node_pb2.Place] = {}
    addresses: dict[str, str] = {}
    for component in graph.components.values():
        if again is not None and component.id not in again:
            continue
        server = servers[component.id]
        if addresses.setdefault(server.name, server.address) != server.address:
            raise ValueError(f'Two node servers are named "{server.name}": {addresses[server.name]}, {server.address}.')
        if server.name not in places:
            places[server.name] = node_pb2.Place(
                protocol_version=protocol_version,
                incarnation=server.incarnation,
                server=server.name,
                opens_lanes_at_start=at_start,
                merges_frames=merging,
                short_lanes=short_lanes,
            )
            if Feature.TRACES in server.features:
                places[server.name].trace = TRACE_LEVELS[graph.trace]
            if limit is not None:
                places[server.name].timeout.CopyFrom(duration(limit))
        places[server.name].instances.append(instance_of(component))
    blockers = None
    if len(places) > 1 or again is not None:
        from lanemesh_orchestrator.pipeline.recovery import recovery_blockers, without_recovery

        blockers = recovery_blockers(graph, without_recovery(servers))
    for edge in graph.edges:
        if edge.id in done:
            continue
        wire_edge = _edge(edge, servers)
        ends = [name for name in (edge.producer, edge.consumer) if again is None or name in again]
        if blockers is not None:
            wire_edge.replayable, wire_edge.reopenable = not blockers[edge.consumer], not blockers[edge.producer]
            wire_edge.own_groups = graph.components[edge.producer].manifest.is_streaming_output
            wire_edge.reopen = ends == [edge.producer]
        for name in dict.fromkeys(servers[end].name for end in ends):
            places[name].edges.append(wire_edge)
    for control in graph.controls:
        if again is not None and control.invoker not in again:
            continue
        places[servers[control.invoker].name].controls.append(_control(control, graph, servers))
    needed = needed_features(graph)
    for place in places.values():
        place.features.extend(_features(place, needed, keyed=keyed))
    return places


def needed_features(graph: Graph) -> Mapping[str, frozenset[Feature]]:
    """By component, the features without which a server cannot run it."""
    needs: dict[str, set[Feature]] = {name: set() for name in graph.components}
    for component in graph.components.values():
        if component.sync_mode == node_pb2.SYNC_MODE_JOIN:
            needs[component.id].add(Feature.JOINS)
        if component.isolation == node_pb2.ISOLATION_PROCESS:
            needs[component.id].add(Feature.ISOLATION)
    for edge in graph.edges:
        if edge.forks:
            needs[edge.producer].add(Feature.JOINS)
            needs[edge.consumer].add(Feature.JOINS)
        if edge.serialize_groups:
            needs[edge.consumer].add(Feature.GROUPS)
    return {name: frozenset(features) for name, features in needs.items()}


def _features(place: node_pb2.Place, needed: Mapping[str, frozenset[Feature]], *, keyed: bool) -> list[str]:
    """The features that a part of a run needs of its server, in alphabetical order."""
    features = {feature for instance in place.instances for feature in needed[instance.component]}
    if any(edge.replayable or edge.reopenable for edge in place.edges):
        features.add(Feature.RECOVERY)
    if place.trace > update_pb2.TRACE_LEVEL_NONE:
        features.add(Feature.TRACES)
    if place.opens_lanes_at_start:
        features.add(Feature.QUICK_STARTS)
    if place.merges_frames:
        features.add(Feature.MERGED_FRAMES)
    if place.short_lanes:
        features.add(Feature.SHORT_LANES)
    if keyed:
        features.add(Feature.LANE_KEYS)
    return sorted(features)


def instance_of(component: Component) -> node_pb2.Instance:
    """The instance of a component for its node server."""
    instance = node_pb2.Instance(
        component=component.id,
        provider=component.provider,
        config_json=component.config,
        secret_pointers=component.secret_pointers,
        sync_mode=component.sync_mode,
        concurrency=component.concurrency,
        helper=component.helper,
        single_item_inputs=component.single_item_inputs,
        isolation=component.isolation,
        join_on=component.join_on,
        on_error=_on_error(component),
    )
    if component.timeout is not None:
        instance.timeout.CopyFrom(duration(component.timeout))
    return instance


def _on_error(component: Component) -> node_pb2.OnError | None:
    match component.on_error:
        case Retry(attempts=attempts, backoff=backoff):
            retry = node_pb2.OnError.POLICY_RETRY
            return node_pb2.OnError(policy=retry, attempts=attempts, backoff=duration(backoff))
        case "skip":
            return node_pb2.OnError(policy=node_pb2.OnError.POLICY_SKIP)
        case _:
            return None


def _edge(edge: Edge, servers: Mapping[str, ServerAddress]) -> node_pb2.Edge:
    producer, consumer = servers[edge.producer], servers[edge.consumer]
    usual = LOCAL_LIMIT_ITEMS if _are_one(producer, consumer) else DEFAULT_LIMIT_ITEMS
    return node_pb2.Edge(
        id=edge.id,
        producer=edge.producer,
        output=edge.output,
        consumer=edge.consumer,
        input=edge.input,
        lane_type=edge.lane_type,
        limit_items=edge.limit_items or usual,
        limit_bytes=edge.limit_bytes,
        producer_server=producer.name,
        consumer_server=consumer.name,
        consumer_address=_dialled(producer, consumer, f"The lane {edge.id}"),
        forks=edge.forks,
        serialize_groups=edge.serialize_groups,
        incarnation=consumer.incarnation,
    )


def _control(control: Control, graph: Graph, servers: Mapping[str, ServerAddress]) -> node_pb2.ControlConnection:
    what = f"The control connection of {control.invoker} to {control.helper}"
    return node_pb2.ControlConnection(
        invoker=control.invoker,
        helper=control.helper,
        helper_provider=graph.components[control.helper].provider,
        class_type=control.class_type,
        helper_address=_dialled(servers[control.invoker], servers[control.helper], what),
        name=control.name,
    )


def _are_one(one: ServerAddress, other: ServerAddress) -> bool:
    return (one.name, one.incarnation) == (other.name, other.incarnation)


def _dialled(caller: ServerAddress, called: ServerAddress, what: str) -> str:
    """Where the caller dials; empty if both are one server."""
    if _are_one(caller, called):
        return ""
    if not called.address:
        raise ValueError(f'{what} must reach the node server "{called.name}", which has no address.')
    return called.address
