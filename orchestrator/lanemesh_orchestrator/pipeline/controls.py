"""Control connections: which helper serves which invoker, within the bounds of the manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lanemesh.protocol import SERVED_CLASS_TYPES
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.entries import ControlEntry
from lanemesh_orchestrator.pipeline.faults import MAX_FAULTS, PipelineFault, listed, nearest, quoted
from lanemesh_orchestrator.pipeline.graph import Control
from lanemesh_orchestrator.pipeline.wiring import Node, dangling


def connect_helpers(nodes: Sequence[Node], by_id: Mapping[str, Node]) -> tuple[list[Control], list[PipelineFault]]:
    """The control connections, and what is wrong: unknown or unfit ends, too few and too many helpers."""
    controls: dict[tuple[str, str, str], Control] = {}
    faults: list[PipelineFault] = []
    counts: Counter[tuple[str, str]] = Counter()
    astray: Counter[tuple[str, str]] = Counter()  # Entries with a fault, by what they were probably meant for.
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
            if (invoker.id, helper.id, kind) in controls:
                message = f"{helper.id} helps {invoker.id} as {quoted(kind)} already."
                faults.append(PipelineFault(pointer, "duplicate-control", message, "Leave it out."))
                continue
            controls[invoker.id, helper.id, kind] = Control(
                invoker=invoker.id, helper=helper.id, class_type=kind, pointer=pointer
            )
            counts[invoker.id, kind] += 1
            if unfit is not None and helper.manifest is not None:
                astray.update((invoker.id, offer) for offer in helper.manifest.offers)
            elif invoker.manifest is not None and helper.manifest is not None:
                faults.extend(_surplus(pointer, invoker, invoker.manifest, helper, kind, counts[invoker.id, kind]))
    meant = counts + astray
    for invoker in by_id.values():
        if invoker.manifest is not None:
            faults.extend(_missing(invoker, invoker.manifest, meant))
    return list(controls.values()), faults


def _incapable(pointer: str, entry: ControlEntry, helper: Node) -> PipelineFault | None:
    if helper.manifest is None:
        return None
    if entry.class_type in helper.manifest.offers:
        return _unserved(pointer, entry.class_type, helper) if entry.class_type not in SERVED_CLASS_TYPES else None
    offers = list(helper.manifest.offers)
    message = f"{helper.label} cannot help as {quoted(entry.class_type)}: it offers {listed(sorted(offers))}."
    near = nearest(entry.class_type, offers) or next(iter(offers), None)
    hint = f'Write "classType": "{near}".' if near else "Use a node type that offers it."
    return PipelineFault(f"{pointer}/classType", "incapable-helper", message, hint)


def _unserved(pointer: str, kind: str, helper: Node) -> PipelineFault:
    served = " and ".join(quoted(one) for one in SERVED_CLASS_TYPES)
    message = f"Helpers of the class {quoted(kind)} cannot be called. {served} are offered."
    offers = [offer for offer in (helper.manifest.offers if helper.manifest else ()) if offer in SERVED_CLASS_TYPES]
    hint = f'Write "classType": "{offers[0]}".' if offers else "Take this control connection out."
    return PipelineFault(f"{pointer}/classType", "unserved-class-type", message, hint)


def _surplus(
    pointer: str, invoker: Node, manifest: node_pb2.Manifest, helper: Node, kind: str, count: int
) -> Iterator[PipelineFault]:
    wanted = {invocation.class_type: invocation for invocation in manifest.invokes}
    if kind not in wanted:
        message = f"{invoker.label} calls no {quoted(kind)}, so {helper.id} cannot help it."
        hint = f"It calls {listed(sorted(wanted))}." if wanted else "It calls no helpers: connect it by a lane instead."
        yield PipelineFault(f"{pointer}/from", "surplus-helper", message, hint)
    elif wanted[kind].max and count > wanted[kind].max:
        message = f"{invoker.label} takes {_bounds(wanted[kind])} {kind}; {helper.id} is number {count}."
        yield PipelineFault(pointer, "surplus-helper", message, f"Leave at most {wanted[kind].max}.")


def _missing(
    invoker: Node, manifest: node_pb2.Manifest, counts: Mapping[tuple[str, str], int]
) -> Iterator[PipelineFault]:
    for invocation in manifest.invokes:
        kind = invocation.class_type
        have = counts.get((invoker.id, kind), 0)
        if invocation.min and kind not in SERVED_CLASS_TYPES:
            served = " and ".join(quoted(one) for one in SERVED_CLASS_TYPES)
            message = f"{invoker.label} needs a helper of the class {quoted(kind)}, which cannot be called. {served} are offered."
            yield PipelineFault(invoker.component.pointer, "unserved-class-type", message, "Use another node type.")
        elif have < invocation.min:
            message = f"{invoker.label} needs {_bounds(invocation)} {kind} and has {have}."
            hint = f'Add "control": [{{"classType": "{kind}", "from": "{invoker.id}"}}] to the {kind} component.'
            yield PipelineFault(invoker.component.pointer, "missing-helper", message, hint)


def _bounds(invocation: node_pb2.Invocation) -> str:
    return f"{invocation.min}..{invocation.max or '*'}"
