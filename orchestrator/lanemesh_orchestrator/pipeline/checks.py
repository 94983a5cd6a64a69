"""Checks of the graph as a whole: cycles, the client-fed source, inputs without edges, unsupported features."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence

from lanemesh.node.packages import install_command
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.config import skips_itself
from lanemesh_orchestrator.pipeline.document import Document
from lanemesh_orchestrator.pipeline.faults import PipelineFault, Severity, listed, nearest, quoted
from lanemesh_orchestrator.pipeline.parts import MAX_SOURCES, is_source
from lanemesh_orchestrator.pipeline.wiring import Node, dangling

_Arrow = tuple[str, str]


def cycles(nodes: Sequence[Node], by_id: Mapping[str, Node]) -> Iterator[PipelineFault]:
    """Cycles of lanes and cycles of control connections, each with its path."""
    lanes: dict[str, list[_Arrow]] = {name: [] for name in by_id}
    controls: dict[str, list[_Arrow]] = {name: [] for name in by_id}
    for node in nodes:
        if by_id.get(node.id) is not node:
            continue
        for pointer, entry in node.component.inputs:
            if entry.producer in lanes:
                lanes[entry.producer].append((node.id, f"{pointer}/from"))
        for pointer, control in node.component.controls:
            if control.invoker in controls:
                controls[control.invoker].append((node.id, f"{pointer}/from"))
    for pointer, path in _cycles(lanes):
        message = f"The lanes form a cycle: {_path(path, ' → ')}."
        yield PipelineFault(pointer, "cycle", message, "Remove one of these edges.")
    for pointer, path in _cycles(controls):
        message = f"The helpers form a cycle: {_path(path, ' ⇢ ')}."
        yield PipelineFault(pointer, "cycle", message, "Remove one of these control connections.")


def _path(names: Sequence[str], arrow: str, limit: int = 20) -> str:
    if len(names) > limit:
        names = [*names[: limit // 2], f"({len(names) - limit} more)", *names[-limit // 2 :]]
    return arrow.join(names)


def _cycles(arrows: Mapping[str, Sequence[_Arrow]]) -> Iterator[tuple[str, list[str]]]:
    """One cycle for each arrow that leads back to the path of a depth-first search: its pointer and its path."""
    done: set[str] = set()
    for root in arrows:
        if root in done:
            continue
        path, place, rest = [root], {root: 0}, [iter(arrows[root])]
        reported: set[_Arrow] = set()
        while path:
            arrow = next(rest[-1], None)
            if arrow is None:
                done.add(path.pop())
                del place[next(reversed(place))]
                rest.pop()
            elif arrow[0] in place:
                if (path[-1], arrow[0]) not in reported:
                    reported.add((path[-1], arrow[0]))
                    yield arrow[1], [*path[place[arrow[0]] :], arrow[0]]
            elif arrow[0] not in done:
                place[arrow[0]] = len(path)
                path.append(arrow[0])
                rest.append(iter(arrows[arrow[0]]))


def find_sources(
    document: Document, nodes: Sequence[Node], by_id: Mapping[str, Node]
) -> tuple[Sequence[str], list[PipelineFault]]:
    """The sources of a pipeline, and the faults of those that it names or lacks."""
    sources = [name for name, node in by_id.items() if _is_source(node)]
    if len(sources) > MAX_SOURCES:
        message = f"The pipeline has {len(sources)} sources; at most {MAX_SOURCES} are allowed (MAX_SOURCES)."
        return [], [PipelineFault("/components", "too-large", message, "Split the pipeline.")]
    if document.source is not None:
        named = by_id.get(document.source)
        if named is None:
            return sources, [dangling("/source", document.source, by_id)]
        if named.manifest is not None and document.source not in sources:
            hint = f"Sources: {listed(sources)}." if sources else "Use a source, such as chat."
            message = f"{named.label} accepts no input from the client, so it cannot be the source."
            return sources, [PipelineFault("/source", "not-a-source", message, hint)]
        return sources, []
    unknown = any(node.manifest is None for node in nodes)
    if not sources and not unknown and nodes and not any(_starts(node) for node in nodes):
        message = "Nothing starts this pipeline: no component accepts input from the client, and none starts by itself."
        return sources, [PipelineFault("/components", "no-source", message, "Add a source, such as chat.")]
    return sources, []


def _is_source(node: Node) -> bool:
    return node.manifest is not None and is_source(node.manifest) and not node.helper


def _starts(node: Node) -> bool:
    if node.manifest is None or node.component.inputs or node.lost_inputs or node.helper:
        return False
    return not any(port.required for port in node.manifest.inputs)


def unconnected(node: Node) -> Iterator[PipelineFault]:
    """Required inputs that no entry is for."""
    if node.manifest is None or node.helper:
        return
    missing = [port for port in node.manifest.inputs if port.required and port.name not in node.connected]
    if len(missing) <= node.lost_inputs:
        return  # An entry that has a fault of its own was probably meant for it.
    for port in missing:
        hint = 'Add {"lane": ..., "from": ...} to its "input".'
        if node.manifest.offers and not node.component.inputs:
            offer = node.manifest.offers[0]
            hint += f' Or make it a helper: "control": [{{"classType": "{offer}", "from": ...}}].'
        name = quoted(port.name) if port.name else "its input"
        message = f"{node.label} needs {name}, but nothing is connected to it."
        yield PipelineFault(node.component.pointer, "required-input-unconnected", message, hint)


def misplaced(node: Node, mesh: str) -> Iterator[PipelineFault]:
    """Labels that choose no server. `mesh` is the address of an orchestrator that node servers join; empty: the pipeline runs in a
    mesh of its reader's own."""
    placement = node.component.entry.placement
    if node.manifest is None or placement is None or not placement.labels:
        return
    pointer = f"{node.component.pointer}/placement"
    if node.manifest.boundary:
        message = f"{node.label} runs in the orchestrator: it cannot be placed by labels."
        yield PipelineFault(pointer, "bad-value", message, "Remove it.")
    elif not mesh:
        message = "Labels select node servers of a permanent mesh. Here they have no effect."
        hint = "Run the pipeline there, with `lanemesh run --mesh`, or remove the labels."
        yield PipelineFault(pointer, "no-effect", message, hint, Severity.WARNING)


def misfits(node: Node) -> Iterator[PipelineFault]:
    """Fields of a component that mean nothing for a node of its kind."""
    entry, manifest, pointer = node.component.entry, node.manifest, node.component.pointer
    if manifest is None:
        return
    if node.helper and entry.isolation == "process":
        message = f"{node.label} is a helper: its calls are made in its node server, not in a process of its own."
        hint = (
            "Remove it. To keep the crash of a tool apart, put its work into a pipeline of its own, as a node with this "
            "isolation, and offer that by tool_pipeline; or offer an MCP server by tool_mcp."
        )
        yield PipelineFault(f"{pointer}/isolation", "bad-value", message, hint)
        return
    if not manifest.is_streaming_input:
        if entry.join_on is not None and node.sync_mode != node_pb2.SYNC_MODE_JOIN:
            message = f"{node.label} does not join, so `join_on` has no effect."
            yield PipelineFault(
                f"{pointer}/join_on", "bad-value", message, 'Add "sync_mode": "join", or remove `join_on`.'
            )
        return
    settings = {
        "sync_mode": entry.sync_mode is not None,
        "join_on": entry.join_on is not None,
        "on_error": entry.on_error != "fail" and not skips_itself(node.component, manifest),
        "concurrency": entry.concurrency > 1,
        "isolation": entry.isolation == "process",
    }
    for field, is_set in settings.items():
        if is_set:
            message = f"{node.label} reads its inputs itself, in one call of `run`: {_MISFITS[field]}."
            yield PipelineFault(f"{pointer}/{field}", "bad-value", message, "Remove it.")


_MISFITS = {
    "sync_mode": "`sync_mode` has no effect",
    "join_on": "`join_on` has no effect",
    "on_error": "it has no firings, so `on_error` has no effect",
    "concurrency": "it has no firings, so `concurrency` has no effect",
    "isolation": "it cannot run in a process of its own",
}


def missing_extra(node: Node, lacking: Mapping[str, Collection[str]] | None) -> Iterator[PipelineFault]:
    """The fault of a node type whose Python packages are missing.

    Args:
        lacking: what is missing on each node server that offers it, by name; None: the pipeline runs in this Python environment,
            or in processes of it.
    """
    if node.manifest is None or not node.manifest.missing_packages:
        return
    command = install_command(node.manifest)
    if lacking is None:
        missing = listed(list(node.manifest.missing_packages))
        message = f"{node.label} needs Python packages that are missing in {sys.prefix}: {missing}."
        hint = f"Run: {command}"
    else:
        where = listed([f"{listed(list(packages))} on {server}" for server, packages in lacking.items()], 5)
        message = f"{node.label} needs Python packages that are missing: {where}."
        hint = f"Run on one of these node servers, and restart it: {command}"
    yield PipelineFault(f"{node.component.pointer}/provider", "missing-extra", message, hint)


def unknown_provider(node: Node, known: Sequence[str], mesh: str = "") -> PipelineFault:
    """The fault of a provider that no node server has. `mesh` is the orchestrator's address, where it reads for a client."""
    provider = node.component.entry.provider
    near = nearest(provider, known)
    family = [name for name in sorted(known) if name.partition("_")[0] == provider.partition("_")[0]]
    hint = f"Nearest: {near}. " if near else f"Of this kind there are: {listed(family)}. " if family else ""
    if mesh:
        hint += f"`lanemesh nodes --mesh {mesh}` lists those of this mesh; a node server adds more: "
        hint += f"`lanemesh node SERVICE --orchestrator {mesh}`."
    else:
        hint += "`lanemesh nodes` lists them; `--nodes FILE.py` adds your own."
    message = f"There is no node type {quoted(provider)}."
    return PipelineFault(f"{node.component.pointer}/provider", "unknown-provider", message, hint)
