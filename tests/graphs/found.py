"""The smallest forms of what random pipelines have found: each went wrong once."""

from __future__ import annotations

from typing import Any

from graphs.shapes import CHAT, Component, Edge, Graph


def graph(*components: Component, edges: str, fed: int | None = None, **more: Any) -> Graph:
    """A pipeline. An edge is "producer.output>consumer.input:limit"; limits, and ports at the boundary, may be left out."""
    made = []
    for text in edges.split():
        route, _, limit = text.partition(":")
        producer, _, consumer = route.partition(">")
        sender, _, output = producer.partition(".")
        receiver, _, port = consumer.partition(".")
        made.append(Edge(sender, output, receiver, port, int(limit) if limit else None))
    responses = dict.fromkeys(edge.consumer for edge in made if edge.consumer[0] in "rt")
    return Graph(
        seed=0,
        components=components,
        edges=made,
        responses=tuple(responses),
        fed=fed,
        homes={component.id: index for index, component in enumerate(components)},
        **more,
    )


def found() -> dict[str, Graph]:
    """The pipelines, by what they once did."""
    list_and_item = Component(id="n0", provider="process_a_bl")
    many_at_once = Component(id="n0", provider="process_a", concurrency=4)
    failing = Component(id="n1", provider="gen_a", settings={"fan": 3, "fail": 1}, concurrency=4)
    return {
        "a source that waits for room was taken for one that waits for its client": graph(
            list_and_item, edges=f"{CHAT}>n0.a:1 {CHAT}>n0.b n0.out>r0", fed=6
        ),
        "a firing cut short, since nobody took its outputs, held up those after it": graph(
            many_at_once,
            Component(id="n1", provider="take", settings={"count": 2}),
            edges=f"{CHAT}>n0.a n0.out>n1.a:2 n1.out>r0",
            fed=12,
        ),
        "the error of the last of several firings was taken for a cancellation": graph(
            Component(id="n0", provider="source", settings={"count": 1}), failing, edges="n0.out>n1.a n1.out>r0"
        ),
        "items that came while a thread fired were not seen": graph(
            Component(id="n0", provider="source", settings={"count": 15}),
            Component(id="n1", provider="process_sync_a_bo", settings={"pause": 0.001}),
            edges=f"n0.out>n1.a {CHAT}>n1.b n1.out>r0 n1.trace>t_n1",
            fed=12,
        ),
        "a lane stopped in the middle of a write held fewer bytes than none, and no deadlock was found": graph(
            Component(id="n0", provider="source", settings={"count": 15}),
            Component(id="n1", provider="take", settings={"count": 1}),
            Component(id="n2", provider="phased"),
            edges="n0.out>n1.a n0.out>n2.a:1 n0.out>n2.b:1 n1.out>r0 n2.out>r0",
        ),
        "an output that meets itself at another input needs room": graph(
            Component(id="n0", provider="source", settings={"count": 15}),
            Component(id="n1", provider="gather"),
            Component(id="n2", provider="process_a_b"),
            edges="n0.out>n1.a:1 n0.out>n2.a:1 n1.out>n2.b:1 n2.out>r0 n2.trace>t_n2",
        ),
    }
