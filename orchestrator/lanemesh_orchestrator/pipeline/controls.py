"""Control connections: which helper serves which invoker, within the bounds of the manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.entries import ControlEntry
from lanemesh_orchestrator.pipeline.faults import MAX_FAULTS, PipelineFault, listed, nearest, quoted
from lanemesh_orchestrator.pipeline.graph import Control
from lanemesh_orchestrator.pipeline.wiring import Node, dangling


def connect_helpers(nodes: Sequence[Node], by_id: Mapping[str, Node]) -> tuple[list[Control], list[PipelineFault]]:
    """The control connections and their faults: unknown or unsuitable ends, too few and too many helpers, unknown or missing
    names."""
    controls: dict[tuple[str, str, str, str], Control] = {}
    faults: list[PipelineFault] = []
    counts: Counter[tuple[str, str, str]] = Counter()  # By invoker, kind and name of the invocation.
    astray: Counter[tuple[str, str]] = Counter()  # Entries with a fault, by the probable invocation.
    for helper in nodes:
        for pointer, entry in helper.component.controls:
            if len(faults) > MAX_FAULTS:
                return [], faults
            invoker, kind = by_id.get(entry.invoker), entry.class_type
            unfit = _incapable(pointer, entry, helper)
            if unfit is not None:
                faults.append(unfit)
            if invoker is None:
                faults.append(dangling(f"{pointer}/from", entry.invoker, by_id))
                astray[nearest(entry.invoker, by_id) or "", kind] += 1
                continue
            invocation, unnamed = _invocation(pointer, entry, invoker, helper)
            if unnamed is not None:
                faults.append(unnamed)
                astray[invoker.id, kind] += 1
                continue
            name = entry.name or (invocation.name if invocation is not None else "")
            if (invoker.id, helper.id, kind, name) in controls:
                message = f"{helper.id} is already connected to {invoker.id} as {quoted(kind)}."
                faults.append(PipelineFault(pointer, "duplicate-control", message, "Remove it."))
                continue
            if (
                name
                and invocation is not None
                and name != invocation.name
                and _is_taken(controls, invoker.id, kind, name)
            ):
                message = f"{invoker.label} has another {kind} helper with the name {quoted(name)}."
                faults.append(PipelineFault(f"{pointer}/name", "duplicate-helper-name", message, "Use another name."))
                astray[invoker.id, kind] += 1
                continue
            controls[invoker.id, helper.id, kind, name] = Control(
                invoker=invoker.id, helper=helper.id, class_type=kind, pointer=pointer, name=name
            )
            if invocation is not None:
                counts[invoker.id, kind, invocation.name] += 1
            if unfit is not None and helper.manifest is not None:
                astray.update((invoker.id, offer) for offer in helper.manifest.offers)
            elif invoker.manifest is not None and helper.manifest is not None:
                count = counts[invoker.id, kind, invocation.name if invocation is not None else ""]
                faults.extend(_surplus(pointer, invoker, invoker.manifest, helper, kind, invocation, count))
    for invoker in by_id.values():
        if invoker.manifest is not None:
            faults.extend(_missing(invoker, invoker.manifest, counts, astray))
    return list(controls.values()), faults


def _invocation(
    pointer: str, entry: ControlEntry, invoker: Node, helper: Node
) -> tuple[node_pb2.Invocation | None, PipelineFault | None]:
    """The invocation that an entry is for, if there is one, and the faults of the entry's name."""
    if invoker.manifest is None:
        return None, None
    kind = entry.class_type
    by_name = {call.name: call for call in invoker.manifest.invokes if call.class_type == kind}
    names = sorted(name for name in by_name if name)
    if entry.name in by_name:
        return by_name[entry.name], None
    if entry.name and names:
        message = f"{invoker.label} calls no {kind} by the name {quoted(entry.name)}."
        near = nearest(entry.name, names)
        hint = f'Write "name": "{near}".' if near else f"Its names are {listed(names)}."
        return None, PipelineFault(f"{pointer}/name", "unknown-helper-name", message, hint)
    if "" in by_name:
        return by_name[""], None
    if len(names) > 1:
        message = f"{invoker.label} calls several {kind} helpers by name, but {helper.id} has no name."
        hint = f'Add "name": one of {listed(names)}.'
        return None, PipelineFault(pointer, "ambiguous-helper", message, hint)
    return (by_name[names[0]], None) if names else (None, None)


def _is_taken(controls: Iterable[tuple[str, str, str, str]], invoker: str, kind: str, name: str) -> bool:
    return any((one, its_kind, its_name) == (invoker, kind, name) for one, _, its_kind, its_name in controls)


def _incapable(pointer: str, entry: ControlEntry, helper: Node) -> PipelineFault | None:
    if helper.manifest is None:
        return None
    if entry.class_type in helper.manifest.offers:
        return _unserved(pointer, entry.class_type, helper) if entry.class_type not in HELPER_KINDS else None
    offers = list(helper.manifest.offers)
    message = f"{helper.label} cannot be a helper of the class {quoted(entry.class_type)}: it offers {listed(sorted(offers))}."
    near = nearest(entry.class_type, offers) or next(iter(offers), None)
    hint = f'Write "classType": "{near}".' if near else "Use a node type that offers it."
    return PipelineFault(f"{pointer}/classType", "incapable-helper", message, hint)


def _unserved(pointer: str, kind: str, helper: Node) -> PipelineFault:
    served = ", ".join(quoted(one) for one in HELPER_KINDS)
    message = f"Helpers of the class {quoted(kind)} cannot be called. Those that can be called: {served}."
    offers = [offer for offer in (helper.manifest.offers if helper.manifest else ()) if offer in HELPER_KINDS]
    hint = f'Write "classType": "{offers[0]}".' if offers else "Remove this control connection."
    return PipelineFault(f"{pointer}/classType", "unserved-class-type", message, hint)


def _surplus(
    pointer: str,
    invoker: Node,
    manifest: node_pb2.Manifest,
    helper: Node,
    kind: str,
    invocation: node_pb2.Invocation | None,
    count: int,
) -> Iterator[PipelineFault]:
    if invocation is None:
        wanted = sorted({call.class_type for call in manifest.invokes})
        message = f"{invoker.label} calls no {quoted(kind)}, so {helper.id} cannot be its helper."
        hint = f"It calls {listed(wanted)}." if wanted else "It calls no helpers: connect it by a lane instead."
        yield PipelineFault(f"{pointer}/from", "surplus-helper", message, hint)
    elif invocation.max and count > invocation.max:
        message = (
            f"{invoker.label} takes {_bounds(invocation)} {_shown(invocation)}; {helper.id} is helper number {count}."
        )
        yield PipelineFault(pointer, "surplus-helper", message, f"Keep at most {invocation.max}.")


def _missing(
    invoker: Node,
    manifest: node_pb2.Manifest,
    counts: Mapping[tuple[str, str, str], int],
    astray: Mapping[tuple[str, str], int],
) -> Iterator[PipelineFault]:
    for invocation in manifest.invokes:
        kind = invocation.class_type
        have = counts.get((invoker.id, kind, invocation.name), 0) + astray.get((invoker.id, kind), 0)
        if invocation.min and kind not in HELPER_KINDS:
            served = ", ".join(quoted(one) for one in HELPER_KINDS)
            what = f"{invoker.label} needs a helper of the class {quoted(kind)}"
            message = f"{what}, which cannot be called. Those that can be called: {served}."
            yield PipelineFault(invoker.component.pointer, "unserved-class-type", message, "Use another node type.")
        elif have < invocation.min:
            message = f"{invoker.label} needs {_bounds(invocation)} {_shown(invocation)} and has {have}."
            named = f', "name": "{invocation.name}"' if invocation.name else ""
            entry = f'{{"classType": "{kind}", "from": "{invoker.id}"{named}}}'
            hint = f'Add "control": [{entry}] to the {kind} component.'
            yield PipelineFault(invoker.component.pointer, "missing-helper", message, hint)


def _shown(invocation: node_pb2.Invocation) -> str:
    return invocation.class_type + (f" named {quoted(invocation.name)}" if invocation.name else "")


def _bounds(invocation: node_pb2.Invocation) -> str:
    return f"{invocation.min}..{invocation.max or '*'}"
