"""Random pipelines by seed: the same seed makes the same pipeline."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from graphs.shapes import CHAT, RUN_PROVIDERS, Component, Edge, Graph
from rigs.graph_nodes import BODIES, SIGNATURES

MAX_COMPONENTS = 12
"""Most components, without those at the boundary."""
MAX_ITEMS = 40
"""About so many items an output has at most."""
LONG = 120.0
"""A timeout in seconds that nothing here takes."""
SERVERS = 4
"""Node servers that components are spread over."""


@dataclass(frozen=True, slots=True)
class Features:
    """What pipelines may have in them."""

    joins: bool = True
    policies: bool = True
    """`on_error: skip` and `retry`."""
    concurrency: bool = True
    stalls: bool = True
    """Small limits also where reconverging paths can lock each other."""


@dataclass(slots=True)
class _Outlet:
    """An output that further components may be connected to."""

    component: str
    port: str
    items: float
    """About how many items come of it."""
    one: bool = False
    """It is `one`."""
    uses: int = 0


def generate(seed: int, features: Features | None = None) -> Graph:
    """The pipeline of a seed."""
    return _Generator(seed, features or Features()).graph()


class _Generator:
    def __init__(self, seed: int, features: Features) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._features = features
        self._components: list[Component] = []
        self._edges: list[Edge] = []
        self._outlets: list[_Outlet] = []
        self._pieces: list[_Outlet] = []
        """Outputs of pieces, for inputs that get wholes and for the client."""
        self._responses: list[str] = []
        self._fed: int | None = None

    def graph(self) -> Graph:
        """Draws everything."""
        size = self._random.randint(1, MAX_COMPONENTS)
        self._sources()
        while len(self._components) < size:
            room = size - len(self._components)
            if self._features.joins and room >= 3 and self._random.random() < 0.15 and self._join(room):
                continue
            if room >= 2 and self._random.random() < 0.05:
                self._endless()
                continue
            if self._random.random() < 0.08:
                self._add_pieces()
            else:
                self._component()
        self._break()
        self._respond()
        self._trace()
        self._limit()
        homes = {component.id: self._random.randrange(SERVERS) for component in self._components}
        cancel = self._random.randint(0, 60) if self._random.random() < 0.12 else None
        return Graph(
            seed=self._seed,
            components=tuple(self._components),
            edges=tuple(self._edges),
            responses=tuple(self._responses),
            fed=self._fed,
            cancel_after=cancel,
            homes=homes,
        )

    # Components

    def _sources(self) -> None:
        some = self._random
        if some.random() < 0.5:
            self._fed = some.choice([0, 1, 2, 5, 12])
            self._outlets.append(_Outlet(CHAT, "", self._fed))
        for _ in range(some.randint(0 if self._fed is not None else 1, 2)):
            provider = some.choice(["source", "source", "source_sync", "once"])
            if provider == "once":
                self._add(provider, {}, [], items=1, one=True)
            else:
                count = some.choice([0, 1, 3, 7, 15])
                self._add(provider, {"count": count, **self._pause()}, [], items=count)

    def _component(self) -> None:
        some = self._random
        if some.random() < 0.3:
            self._runner()
            return
        body, signature = some.choice(BODIES), some.choice(SIGNATURES)
        wiring: list[tuple[str, _Outlet]] = []
        for name in signature.split("_"):
            if name[1:] == "o" and some.random() < 0.35:
                continue
            if name[1:] == "w" and self._pieces and some.random() < 0.7:
                pieces = _distinct(some.choices(self._pieces, k=some.choice([1, 1, 2])))
                wiring += [(name[0], outlet) for outlet in pieces]
            else:
                wiring += [(name[0], outlet) for outlet in self._choose()]
        kinds = {name[0]: name[1:] for name in signature.split("_")}
        singles = {port for port, _ in wiring if kinds[port] != "l"}
        mode = some.choice(["on_any", "on_any", "zip_all"])
        by_port: dict[str, list[_Outlet]] = {}
        for port, outlet in wiring:
            by_port.setdefault(port, []).append(outlet)
        counts = {port: sum(outlet.items for outlet in by_port[port]) for port in singles}
        ones = {port for port in singles if len(by_port[port]) == 1 and by_port[port][0].one}
        if not singles:
            firings = 1.0
        elif mode == "zip_all":
            firings = min((counts[port] for port in singles - ones), default=1.0)
        else:
            firings = sum(counts.values())
        once = not singles or (mode == "zip_all" and singles <= ones)
        if body.startswith("gen") and firings > MAX_ITEMS / 2:
            body = body.replace("gen", "process")
        generates = body.startswith("gen")
        settings = {"fan": some.randint(1, 3)} if generates else self._drop()
        if firings <= MAX_ITEMS:
            settings.update(self._pause())
        items = firings * (settings["fan"] / 2 if generates else 1)
        concurrency = some.randint(2, 6) if self._features.concurrency and some.random() < 0.2 else 1
        self._add(
            f"{body}_{signature}",
            settings,
            wiring,
            items=items,
            one=once and not generates,
            mode=mode,
            concurrency=concurrency,
        )

    def _add_pieces(self) -> None:
        """A generator of pieces, and if there is room what puts them together."""
        some = self._random
        wiring = [("a", outlet) for outlet in self._choose()]
        items = sum(outlet.items for _, outlet in wiring)
        settings = {"fan": some.randint(2, 5), **self._pause()}
        outlet = self._add(some.choice(["pieces_a", "pieces_sync_a"]), settings, wiring, items=items)
        del self._outlets[-2:]
        self._pieces.append(outlet)

    def _runner(self) -> None:
        some = self._random
        provider = some.choice(["relay", "relay", "take", "gather", "merge", "phased"])
        wiring = [("a", outlet) for outlet in self._choose()]
        if provider in ("merge", "phased"):
            wiring += [("b", outlet) for outlet in self._choose()]
        items = sum(outlet.items for _, outlet in wiring)
        settings = {**self._drop(), **self._pause()}
        if provider == "take":
            settings["count"] = some.choice([1, 2, 3, 8])
            items = min(items, settings["count"])
        self._add(provider, settings, wiring, items=1 if provider == "gather" else items)

    def _endless(self) -> None:
        """A source without an end, and what ends it."""
        some = self._random
        self._add("endless", {}, [], items=MAX_ITEMS)
        source = self._outlets.pop()
        if self._outlets and some.random() < 0.5:
            other = some.choice(self._outlets)
            if not other.one:
                body = some.choice(BODIES)
                settings = {"fan": 2} if body.startswith("gen") else {}
                self._add(f"{body}_a_b", settings, [("a", source), ("b", other)], items=other.items, mode="zip_all")
                return
        self._add("take", {"count": some.randint(1, 9)}, [("a", source)], items=5)

    def _join(self, room: int) -> bool:
        """Branches from one output that meet again. Returns whether there was one to begin with."""
        some = self._random
        many = [outlet for outlet in self._outlets if not outlet.one and 2 <= outlet.items <= MAX_ITEMS]
        if not many:
            return False
        fork = some.choice(many)
        branches, left = [], room - 1
        several = some.random() < 0.5
        for port in "abc"[: some.randint(2, 3)]:
            outlet = fork
            for _ in range(some.randint(0, min(2, left))):
                left -= 1
                provider = some.choice(["process_a", "process_sync_a", "relay"])
                if several:
                    provider, several = some.choice(["gen_a", "gen_sync_a"]), False
                settings = {"fan": 2} if provider.startswith("gen") else self._drop()
                outlet = self._add(provider, {**settings, **self._pause()}, [("a", outlet)], items=outlet.items)
            branches.append((port, outlet))
        body = some.choice(BODIES)
        self._add(
            f"{body}_{'_'.join(port for port, _ in branches)}",
            {"fan": 1} if body.startswith("gen") else {},
            branches,
            items=fork.items,
            mode="join",
            fork=f"{fork.component}.{fork.port}" if fork.component != CHAT else f"{CHAT}.text",
        )
        return True

    def _add(
        self,
        provider: str,
        settings: dict[str, Any],
        wiring: list[tuple[str, _Outlet]],
        *,
        items: float,
        one: bool = False,
        mode: str = "on_any",
        fork: str = "",
        concurrency: int = 1,
    ) -> _Outlet:
        name = f"n{len(self._components)}"
        component = Component(
            id=name,
            provider=provider,
            settings=settings,
            mode=mode,
            fork=fork,
            names_fork=bool(fork) and self._random.random() < 0.3,
            concurrency=concurrency,
            timeout=LONG if self._random.random() < 0.1 else None,
            isolated=provider not in RUN_PROVIDERS and self._random.random() < 0.003,
        )
        self._components.append(component)
        for port, outlet in wiring:
            outlet.uses += 1
            self._edges.append(Edge(outlet.component, outlet.port, name, port))
        out = _Outlet(name, "out", items, one)
        self._outlets.append(out)
        if not component.inputs:
            return out
        self._outlets.append(_Outlet(name, "alt", items / 2, one))
        return out

    def _choose(self) -> list[_Outlet]:
        """What an input is connected to: one output, seldom several; rather new ones that nobody takes yet."""
        some = self._random
        number = some.choice([1, 1, 1, 1, 1, 1, 2, 3])
        weights = [
            (3.0 if not outlet.uses else 1.0) * (0.4 if outlet.port == "alt" else 1.0) for outlet in self._outlets
        ]
        weights = [
            weight * (0.1 if outlet.items > MAX_ITEMS else 1)
            for weight, outlet in zip(weights, self._outlets, strict=True)
        ]
        return _distinct(some.choices(self._outlets, weights, k=number))

    def _drop(self) -> dict[str, Any]:
        return {"drop": self._random.choice([2, 3, 5])} if self._random.random() < 0.3 else {}

    def _pause(self) -> dict[str, Any]:
        return {"pause": 0.001} if self._random.random() < 0.15 else {}

    # What goes wrong

    def _break(self) -> None:
        """Lets one or two components fail."""
        some = self._random
        able = [index for index, component in enumerate(self._components) if component.inputs]
        if not able or some.random() > 0.35:
            return
        for index in some.sample(able, k=min(len(able), some.choice([1, 1, 2]))):
            component = self._components[index]
            settings = {**component.settings, "fail": some.choice([1, 3, 6, 12, 30])}
            settings["late"] = component.generates and some.random() < 0.4
            on_error: str | int = "fail"
            if self._features.policies and not component.runs:
                choices: list[str | int] = ["fail", "skip", 2, 4]
                on_error = some.choice(choices)
            if on_error == "skip" and not self._shape().ordered(component):
                on_error = "fail"  # what it is skipped for would be told nowhere
            if isinstance(on_error, int):
                settings["flaky"] = some.randrange(on_error if component.concurrency > 1 else on_error + 1)
            self._components[index] = replace(component, settings=settings, on_error=on_error)

    # What is delivered

    def _respond(self) -> None:
        some = self._random
        ends = [outlet for outlet in self._outlets if not outlet.uses and outlet.port != "alt" and some.random() < 0.85]
        ends += [outlet for outlet in self._pieces if not outlet.uses or some.random() < 0.2]
        ends += [outlet for outlet in self._outlets if (outlet.uses or outlet.port == "alt") and some.random() < 0.12]
        ends = ends or [some.choice(self._outlets)]
        some.shuffle(ends)
        while ends:
            number = some.choice([1, 1, 1, 2, 3])
            name = f"r{len(self._responses)}"
            self._responses.append(name)
            for outlet in ends[:number]:
                self._edges.append(Edge(outlet.component, outlet.port, name, ""))
            ends = ends[number:]

    def _trace(self) -> None:
        """Has every component tell its firings whose order is open, and some more."""
        shape = self._shape()
        for component in self._components:
            late_retry = component.settings.get("late") and isinstance(component.on_error, int)
            if component.inputs and (not shape.ordered(component) or late_retry or self._random.random() < 0.05):
                name = f"t_{component.id}"
                self._responses.append(name)
                self._edges.append(Edge(component.id, "trace", name, ""))

    def _shape(self) -> Graph:
        return Graph(
            seed=self._seed, components=self._components, edges=self._edges, responses=self._responses, fed=self._fed
        )

    def _limit(self) -> None:
        if self._features.stalls or not self._meet():
            self._edges = [replace(edge, limit=self._random.choice([1, 1, 2, 3, 8, None])) for edge in self._edges]

    def _meet(self) -> bool:
        """Whether some paths that part meet again, whatever their direction; those that meet in a response do no harm."""
        groups: dict[str, str] = {}

        def root(name: str) -> str:
            while name in groups:
                name = groups[name]
            return name

        for edge in self._edges:
            if edge.consumer in self._responses:
                continue
            producer, consumer = root(edge.producer), root(edge.consumer)
            if producer == consumer:
                return True
            groups[producer] = consumer
        return False


def _distinct(outlets: list[_Outlet]) -> list[_Outlet]:
    """Each output once: a second edge between the same two ports is a fault of the pipeline."""
    return list({(outlet.component, outlet.port): outlet for outlet in outlets}.values())
