"""Takes the sets of a `join`: items with the same sequence tag, in the order in which the sets are complete."""

from __future__ import annotations

from collections import Counter

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import ABSENT, ITEM_OVERHEAD_BYTES, Item, Lineage
from lanemesh.lanes.inbox.edge import Edge
from lanemesh.lanes.inbox.inbox import Held, Inbox, Port
from lanemesh.node.firing.taking import NoMoreFirings, TakenSet, Valueless
from lanemesh.node.join.lineage import LineageTracker, lineage_of, with_lineage
from lanemesh.node.join.matcher import JoinedSet, JoinMatcher, SeveralOnTwoInputs
from lanemesh.node.waits import Wait

_NOTHING = Item(ABSENT, ITEM_OVERHEAD_BYTES)


class JoinTaking:
    """Holds items until their set is complete. They count against the limits of their edges until then."""

    def __init__(
        self, inbox: Inbox, names: list[str], fork: str, reused: frozenset[str], tracker: LineageTracker | None
    ) -> None:
        """`reused` inputs get one item, which is part of every set. The other inputs are paired by the sequence tags of `fork`."""
        self.begun = False
        self._fork = fork
        self._tracker = tracker
        self._reused = {name: inbox.port(name) for name in names if name in reused}
        self._ports = {name: inbox.port(name) for name in names if name not in reused}
        self._matcher: JoinMatcher[Held] = JoinMatcher(
            {name: port.edges for name, port in self._ports.items()}, lambda held: held.item.size
        )
        self._ended: set[Edge] = set()
        self._came: set[str] = set()
        self._dropped: Counter[str] = Counter()
        self._untagged: Counter[str] = Counter()
        self._given: list[Item] = []
        """Items of the latest set that were not in an earlier one."""

    def next(self) -> TakenSet | Valueless | NoMoreFirings | None:
        """The next step."""
        self._give_up()
        for name, port in self._reused.items():
            if port.entries and port.entries[0][2] is ABSENT:
                return Valueless(name, port.take())
        ended = self._drain()
        if isinstance(ended, Valueless):
            return ended
        self._drop()
        if self._tracker is not None and self._tracker.closed:
            return Valueless(next(iter(self._ports)), _NOTHING)  # dropped items have to be reported
        missing = [name for name, port in self._reused.items() if not self.begun and not port.entries]
        if self._matcher.ready and not missing:
            return self._take(self._matcher.ready.popleft())
        for name in missing:
            self._reused[name].raise_fault()
            if self._reused[name].ended:
                return self._skipped(name)
        for port in self._ports.values():
            port.raise_fault()
        if self._matcher.over:
            return self._over()
        return None

    @property
    def waits_for(self) -> Wait:
        """The change that a further firing requires."""
        if self._matcher.ready:
            return Wait(all_inputs=tuple(name for name, port in self._reused.items() if not port.entries))
        waiting = [name for name, port in self._reused.items() if not self.begun and not port.entries]
        return Wait(any_inputs=(*waiting, *(name for name, port in self._ports.items() if not port.ended)))

    def _drain(self) -> Valueless | None:
        """Processes all arrived items."""
        for name, port in self._ports.items():
            while port.entries:
                held = port.hold()
                lineage = lineage_of(held.item)
                valued = held.item.value is not ABSENT
                self._arrive(name, held, lineage, valued)
                if not valued:
                    held.take()
                    if self._ends_a_group(held):
                        return Valueless(name, held.item._replace(envelope=with_lineage(held.item.envelope, None)))
            self._note_ends(port)
        return None

    def _arrive(self, name: str, held: Held, lineage: Lineage | None, valued: bool) -> None:
        tag = lineage.forks.get(self._fork) if lineage is not None else None
        done = lineage is not None and self._fork in lineage.done
        if valued:
            self._came.add(name)
            if tag is None:
                self._untagged[name] += 1
        if self._tracker is not None:
            self._tracker.took(lineage, valued=valued)
        try:
            self._matcher.arrive(name, held.edge, tag, held if valued else None, done=done)
        except SeveralOnTwoInputs as error:
            raise self._several(error) from None

    def _ends_a_group(self, held: Held) -> bool:
        return held.item.envelope is not None and held.item.envelope.group is not None

    def _note_ends(self, port: Port) -> None:
        if not port.ended and port.shaping is not None and port.shaping.aside_items:
            return  # an edge may have ended and have parked items
        for edge in port.edges:
            if (edge.ended or edge.stopped) and edge not in self._ended:
                self._ended.add(edge)
                self._matcher.end(edge)

    def _take(self, joined: JoinedSet[Held]) -> TakenSet:
        taken = {} if self.begun else {name: port.take() for name, port in self._reused.items()}
        self._given = []
        for name, held in joined.items.items():
            item = held.item
            if name in joined.new:
                self._given.append(held.take())
            taken[name] = self._not_last(item)
        self.begun = True
        return taken

    def _not_last(self, item: Item) -> Item:
        """The same item without the completed tags of its lineage, which were noted when it arrived."""
        lineage = lineage_of(item)
        if self._tracker is None or lineage is None or not lineage.done:
            return item
        return item._replace(envelope=with_lineage(item.envelope, Lineage(lineage.forks)))

    def _give_up(self) -> None:
        """Releases the items of the latest set, which the firing has taken over."""
        if self._tracker is not None:
            for item in self._given:
                self._tracker.finished(lineage_of(item))
        self._given = []

    def _drop(self) -> None:
        for name, held in self._matcher.dropped:
            self._dropped[name] += 1
            held.take()
            if self._tracker is not None:
                self._tracker.finished(lineage_of(held.item))
        self._matcher.dropped.clear()

    def _skipped(self, name: str) -> NoMoreFirings:
        held = Counter(self._dropped)
        for joined in self._matcher.ready:
            held.update(joined.new)
        counts = _counts(held)
        waited = f"; items that waited: {counts}" if counts else ""
        return NoMoreFirings(True, f'the required input "{name}" ended without an item{waited}')

    def _over(self) -> NoMoreFirings | None:
        """The end, once it is known whether the node never fired because an input had no items."""
        without = [name for name in self._ports if name not in self._came] if not self.begun else []
        if without:
            empty = next((name for name in without if self._ports[name].ended), "")
            return self._skipped(empty) if empty else None
        unpaired = _counts(self._dropped - self._untagged)
        notes = [f"items without a sibling dropped: {unpaired}"] if unpaired else []
        if self._untagged:
            notes.append(f"items without a sequence tag of {self._fork} dropped: {_counts(self._untagged)}")
        return NoMoreFirings(False, "; ".join(notes))

    def _several(self, error: SeveralOnTwoInputs) -> LanemeshError:
        message = (
            f'the inputs "{error.inputs[0]}" and "{error.inputs[1]}" each got several items that descend from item {error.tag} '
            f"of {self._fork}, so they cannot be paired: at most one input of a join may get several. Collect or "
            "assemble the items on the other path"
        )
        details = {"fork": self._fork, "number": str(error.tag)}
        return LanemeshError(
            Fault(code=Code.FAILED_PRECONDITION, reason="join-several", message=message, details=details)
        )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} on {name}" for name, count in sorted(counter.items()) if count)
