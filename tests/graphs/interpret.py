"""What a pipeline has to do, worked out one component after the other: no lanes, no limits, nothing at the same time.

Where the semantics leave the order open, as where several edges meet in one input, a component tells its firings (its *trace*).
The interpreter checks that they could have been, and goes on with them. Without a trace, what depends on it stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphs.shapes import CHAT, Component, Edge, Graph
from rigs.graph_nodes import Values, emissions, fails, trace_of

ENDLESS_ITEMS = 100
"""How many items of an endless source are worked out; nobody takes as many."""


class Impossible(AssertionError):
    """Something came that may not come."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item on an edge."""

    value: str
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Which item of a fork it descends from."""
    whole: int | None = None
    """The firing of whose whole it is a piece; None: it is one by itself."""
    broken: bool = False
    """That firing failed."""


@dataclass(frozen=True, slots=True)
class Stream:
    """All that goes over an edge."""

    items: Sequence[Item] = ()
    clean: bool = True
    """It ends, rather than breaks off."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing: what it sees, and the items newly taken for it."""

    values: Values
    taken: Sequence[Item] = ()


@dataclass(slots=True)
class Part:
    """What becomes of one component."""

    firings: Sequence[Firing] = ()
    """Those that are begun."""
    skipped: bool = False
    """It never fires, since a required input ends empty."""
    fatal: Firing | None = None
    """The firing that fails the run."""
    dropped: int = 0
    """Firings that failed and were skipped."""
    outputs: dict[str, Stream] = field(default_factory=dict)
    """What it sends, by output."""


Ports = Mapping[str, Sequence[Stream]]
"""What comes in at each connected input, by edge."""


@dataclass(slots=True)
class Reading:
    """What becomes of a run."""

    parts: dict[str, Part]
    """By component; those that cannot be known are missing."""
    unknown: frozenset[str]
    """Components that cannot be known."""

    def stream(self, edge: Edge) -> Stream | None:
        """All that goes over an edge; None if it cannot be known."""
        part = self.parts.get(edge.producer)
        return part.outputs.get(edge.output, Stream()) if part is not None else None


def interpret(graph: Graph, inputs: Sequence[str], traces: Mapping[str, Sequence[str]] | None = None) -> Reading:
    """Works out a run that is fed these inputs. Raises Impossible if a trace cannot have been."""
    parts = {CHAT: Part(outputs={"": Stream([Item(value) for value in inputs])})}
    _number(CHAT, parts[CHAT])
    reading = Reading(parts, frozenset())
    ones: set[str] = set()
    for component in graph.components:
        edges = graph.into(component.id)
        incoming = {port: [reading.stream(edge) for edge in feeding] for port, feeding in edges.items()}
        one = {port for port, feeding in edges.items() if len(feeding) == 1 and feeding[0].producer in ones}
        if _fires_once(component, edges, one):
            ones.add(component.id)
        known: dict[str, list[Stream]] = {
            port: [stream for stream in streams if stream is not None] for port, streams in incoming.items()
        }
        for port, streams in known.items():
            if component.inputs[port] == "w":
                known[port] = [_assembled(stream) for stream in streams]
        trace = traces.get(component.id, ()) if traces is not None else None
        if any(None in streams for streams in incoming.values()) or (trace is None and not graph.ordered(component)):
            reading.unknown |= {component.id}
            continue
        parts[component.id] = _part(component, known, one, None if graph.ordered(component) else trace)
        if graph.ordered(component) and traces is not None and component.id in traces:
            _check_trace(component, parts[component.id], traces[component.id])
        _number(component.id, parts[component.id])
    return reading


def _assembled(stream: Stream) -> Stream:
    """The wholes of a stream of pieces; those of a firing that failed are left out."""
    wholes: dict[int, list[Item]] = {}
    for number, item in enumerate(stream.items):
        wholes.setdefault(-number - 1 if item.whole is None else item.whole, []).append(item)
    return Stream(
        [Item("".join(item.value for item in pieces)) for pieces in wholes.values() if not pieces[0].broken],
        stream.clean,
    )


def _fires_once(component: Component, ports: Mapping[str, Any], ones: set[str]) -> bool:
    if component.runs or component.generates:
        return False
    singles = {port for port in ports if component.inputs[port] != "l"}
    return not singles or (component.mode != "on_any" and singles <= ones)


def _part(component: Component, ports: Ports, ones: set[str], trace: Sequence[str] | None) -> Part:
    if not component.inputs:
        return _source(component)
    firings, skipped, clean = _firings(component, ports, ones, trace)
    return _emit(component, firings, skipped=skipped, clean=clean)


def _source(component: Component) -> Part:
    count = {"once": 1, "endless": ENDLESS_ITEMS}.get(component.provider, component.settings.get("count", 0))
    return Part(outputs={"out": Stream([Item(f"{component.id}-{number}") for number in range(count)])})


# What it fires on


def _firings(
    component: Component, ports: Ports, ones: set[str], trace: Sequence[str] | None
) -> tuple[Sequence[Firing], bool, bool]:
    """Its firings, whether it is skipped, and whether they are all of them."""
    lists = [port for port, kind in component.inputs.items() if kind == "l"]
    gathered = _collect(component, ports, ["a"] if component.provider == "gather" else lists, trace)
    if gathered is None:
        return [], False, False
    if component.provider == "gather":
        return [Firing(gathered)], False, True
    singles = {port: streams for port, streams in ports.items() if port not in lists}
    nothing: dict[str, Any] = {port: None for port in component.inputs if port not in lists}
    if not singles:
        return [Firing({**nothing, **gathered})], False, True
    clean = all(stream.clean for streams in singles.values() for stream in streams)
    if component.provider == "take":
        clean = clean or sum(len(stream.items) for stream in singles["a"]) >= component.settings["count"]
    required = [port for port in singles if component.inputs[port] != "o" or component.mode == "zip_all"]
    if not component.runs:
        empty = [port for port in required if not any(stream.items for stream in singles[port])]
        if empty:
            skipped = any(all(stream.clean for stream in singles[port]) for port in empty)
            return [], skipped, clean or skipped
    values = {**nothing, **gathered}
    if component.mode == "join":
        return _joined(component, singles, ones, values, trace or ()), False, clean
    schedule = _Schedule(component, singles, ones, values)
    firings = schedule.only() if trace is None else schedule.told(trace)
    if component.mode == "zip_all":  # it ends with the shortest
        shortest = [streams for streams in singles.values() if sum(len(s.items) for s in streams) <= len(firings)]
        clean = clean or any(all(stream.clean for stream in streams) for streams in shortest)
    return firings, False, clean


def _collect(
    component: Component, ports: Ports, lists: Sequence[str], trace: Sequence[str] | None
) -> dict[str, list[str]] | None:
    """What list inputs collect; None if one of them breaks off."""
    gathered: dict[str, list[str]] = {}
    for port in lists:
        streams = ports.get(port, ())
        if not all(stream.clean for stream in streams):
            return None
        if len(streams) < 2 or not trace:
            gathered[port] = [item.value for stream in streams for item in stream.items]
            continue
        told = trace[0].split("|")[sorted(component.inputs).index(port)]
        gathered[port] = told.split(",") if told else []
        if not shuffles([[item.value for item in stream.items] for stream in streams], gathered[port]):
            raise Impossible(f"{component.id}.{port} collected {gathered[port]}, which is not what its edges brought")
    return gathered


class _Schedule:
    """The ways in which a component may take what comes in."""

    def __init__(self, component: Component, ports: Ports, ones: set[str], start: Mapping[str, Any]) -> None:
        self._component = component
        self._edges = [(port, stream.items) for port, streams in ports.items() for stream in streams]
        self._ports = sorted(ports)
        self._ones = ones & set(ports)
        self._start = dict(start)
        self._required = [port for port in self._ports if component.inputs[port] != "o"]

    def only(self) -> Sequence[Firing]:
        """The firings of a component that has no choice."""
        firings: list[Firing] = []
        taken, values = (0,) * len(self._edges), self._start
        while steps := list(self._steps(taken, values, len(firings))):
            if len(steps) > 1:
                raise AssertionError(f"{self._component.id} has a choice")
            taken, firing = steps[0]
            values = dict(firing.values)
            firings.append(firing)
        return firings

    def told(self, trace: Sequence[str]) -> Sequence[Firing]:
        """The firings that a trace tells of. Raises Impossible if they cannot have been, or not all of them."""
        furthest = 0
        seen: set[Any] = set()
        stack: list[tuple[tuple[int, ...], Mapping[str, Any], tuple[Firing, ...]]] = [
            ((0,) * len(self._edges), self._start, ())
        ]
        while stack:
            taken, values, firings = stack.pop()
            furthest = max(furthest, len(firings))
            steps = list(self._steps(taken, values, len(firings)))
            if len(firings) == len(trace):
                if not steps:
                    return firings
                continue
            for after, firing in steps:
                state = after, tuple(sorted((port, str(value)) for port, value in firing.values.items()))
                if trace_of(firing.values) == trace[len(firings)] and state not in seen:
                    seen.add(state)
                    stack.append((after, firing.values, (*firings, firing)))
        if furthest == len(trace):
            raise Impossible(f"{self._component.id} fired {len(trace)} times and had more to fire on: {list(trace)}")
        raise Impossible(f"{self._component.id} cannot have fired on {trace[furthest]} after {list(trace[:furthest])}")

    def _steps(
        self, taken: tuple[int, ...], values: Mapping[str, Any], fired: int
    ) -> Iterator[tuple[tuple[int, ...], Firing]]:
        """Every firing that may come next."""
        for edges in self._choices(taken, fired):
            after, now, items = list(taken), dict(values), []
            for edge in edges:
                port, stream = self._edges[edge]
                items.append(stream[taken[edge]])
                now[port] = items[-1].value
                after[edge] += 1
            if self._component.runs:
                now = {port: now[port] if port == self._edges[edges[0]][0] else None for port in self._component.inputs}
            yield tuple(after), Firing(now, items)

    def _choices(self, taken: tuple[int, ...], fired: int) -> Iterator[tuple[int, ...]]:
        """The edges from which it may take next."""
        waiting: dict[str, list[int]] = {port: [] for port in self._ports}
        for edge, (port, stream) in enumerate(self._edges):
            if taken[edge] < len(stream):
                waiting[port].append(edge)
        if self._component.provider == "take" and fired >= self._component.settings["count"]:
            return
        if self._component.provider == "phased":
            yield from ((edge,) for edge in waiting["a"] or waiting["b"])
        elif self._component.mode == "zip_all":
            wanted = [port for port in self._ports if port not in self._ones or not fired]
            if wanted:
                yield from _one_of_each([waiting[port] for port in wanted])
        elif not self._component.runs and not fired and self._required:
            optional = [[*waiting[port], None] for port in self._ports if port not in self._required]
            yield from _one_of_each([*(waiting[port] for port in self._required), *optional])
        else:
            yield from ((edge,) for port in self._ports for edge in waiting[port])


def _one_of_each(choices: Sequence[Sequence[int | None]]) -> Iterator[tuple[int, ...]]:
    if not choices:
        yield ()
        return
    for edge in choices[0]:
        for rest in _one_of_each(choices[1:]):
            yield (edge, *rest) if edge is not None else rest


def _joined(
    component: Component, ports: Ports, ones: set[str], start: Mapping[str, Any], trace: Sequence[str]
) -> Sequence[Firing]:
    """The firings of a join in the order in which they are told: each set of a number, whichever is complete first."""
    by_number: dict[str, dict[int, list[Item]]] = {}
    for port, (stream,) in ports.items():
        groups = by_number[port] = {}
        for item in stream.items:
            groups.setdefault(item.numbers[component.fork], []).append(item)
    numbers = sorted(set.intersection(*(set(groups) for groups in by_number.values())))
    expected: list[list[Firing]] = []
    for number in numbers:
        sets: list[tuple[Item, ...]] = [()]
        for port in sorted(ports):
            sets = [(*taken, item) for taken in sets for item in by_number[port][number]]
        firings = [
            Firing({**start, **{port: item.value for port, item in zip(sorted(ports), taken, strict=True)}}, taken)
            for taken in sets
        ]
        expected.append(firings)
    return _in_order_of(component, expected, trace)


def _in_order_of(component: Component, expected: list[list[Firing]], trace: Sequence[str]) -> Sequence[Firing]:
    """Picks the firings of sequences, each of which keeps its order, in the order of a trace."""
    rests = [list(firings) for firings in expected if firings]
    found: list[Firing] = []
    for told in trace:
        rest = next((rest for rest in rests if rest and trace_of(rest[0].values) == told), None)
        if rest is None:
            left = [trace_of(firing.values) for rest in rests for firing in rest]
            raise Impossible(f"{component.id} joined {told}, and left were {left}")
        found.append(rest.pop(0))
    left = [trace_of(firing.values) for rest in rests for firing in rest]
    if left:
        raise Impossible(f"{component.id} did not join {left}")
    return found


# What it emits


def _emit(component: Component, firings: Sequence[Firing], *, skipped: bool, clean: bool) -> Part:
    part = Part(skipped=skipped)
    begun: list[Firing] = []
    sent: dict[str, list[Item]] = {"out": [], "alt": [], "trace": []}
    for firing in firings:
        begun.append(firing)
        pieces = component.provider.startswith("pieces")
        emitted = emissions(
            component.id, _Settings(component.settings), firing.values, many=component.generates, pieces=pieces
        )
        emitted.insert(0, ("trace", trace_of(firing.values)))
        outcome = _outcome(component, firing)
        if outcome is not None:
            emitted = emitted[: 2 if component.settings.get("late") else 0]
        numbers = _numbers(firing)
        for port, value in emitted:
            whole = len(begun) if pieces and port == "out" else None
            sent[port].append(Item(value, numbers, whole, outcome is not None))
        if outcome == "fatal":
            part.fatal = firing
            break
        part.dropped += outcome == "dropped"
    part.firings = begun
    ends = clean and part.fatal is None
    part.outputs = {port: Stream(items, ends) for port, items in sent.items()}
    return part


def _outcome(component: Component, firing: Firing) -> str | None:
    """ "fatal", "dropped", or None for a firing that succeeds in the end."""
    if not fails(component.id, _Settings(component.settings), firing.values):
        return None
    if component.on_error == "skip":
        return "dropped"
    if isinstance(component.on_error, int) and not component.settings.get("late"):
        flaky = component.settings.get("flaky", 0)
        return None if flaky and flaky < component.on_error else "fatal"
    return "fatal"


class _Settings:
    """Settings as the nodes see them."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.drop, self.fan, self.fail = given.get("drop", 0), given.get("fan", 1), given.get("fail", 0)


def _numbers(firing: Firing) -> Mapping[str, int]:
    """The numbers that a firing hands on: those on which all that was taken for it agrees."""
    if not firing.taken:
        return {}
    first, *others = firing.taken
    return {
        fork: number for fork, number in first.numbers.items() if all(o.numbers.get(fork) == number for o in others)
    }


def _number(component: str, part: Part) -> None:
    """Every output numbers its items, for those who join on it."""
    for port, stream in part.outputs.items():
        fork = f"{component}.{port or 'text'}"
        items = [replace(item, numbers={**item.numbers, fork: number}) for number, item in enumerate(stream.items)]
        part.outputs[port] = Stream(items, stream.clean)


def _check_trace(component: Component, part: Part, trace: Sequence[str]) -> None:
    expected = [item.value for item in part.outputs["trace"].items]
    if list(trace) != expected:
        raise Impossible(f"{component.id} fired on {list(trace)} instead of {expected}")


# Orders


def shuffles(streams: Sequence[Sequence[str]], merged: Sequence[str], *, whole: bool = True) -> bool:
    """Whether `merged` is these streams, each in its order, one among the other; or, if not `whole`, the beginnings of them."""
    seen: set[tuple[int, ...]] = set()
    stack = [(0,) * len(streams)]
    while stack:
        taken = stack.pop()
        position = sum(taken)
        if position == len(merged):
            if not whole or all(count == len(stream) for count, stream in zip(taken, streams, strict=True)):
                return True
            continue
        for index, stream in enumerate(streams):
            if taken[index] < len(stream) and stream[taken[index]] == merged[position]:
                after = (*taken[:index], taken[index] + 1, *taken[index + 1 :])
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
    return False
