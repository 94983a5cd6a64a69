"""A graph as lines of text: `chat_1 ─questions→ llm_1 ─answers→ response_1`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.pipeline.graph import LANE_NAMES, Graph


def draw(graph: Graph, *, width: int = 120) -> str:
    """Draws a graph, its paths first and its control connections last, in lines of at most `width` characters if possible."""
    return draw_shapes(graph.shapes(), graph.components, width=width)


def draw_shapes(shapes: Sequence[update_pb2.EdgeShape], components: Iterable[str] = (), *, width: int = 120) -> str:
    """The same for the edges of a run's updates; `components` has the order and those without edges.

    Each edge is drawn once: a line follows edges that are not drawn yet. Where paths part or meet, further lines begin or end at a
    component that was drawn before.
    """
    lanes: dict[tuple[str, str], list[str]] = {}
    helpers: dict[str, list[str]] = {}
    drawn = dict.fromkeys(components, False)
    inputs = {(shape.consumer, shape.lane_type): set[str]() for shape in shapes}
    for shape in shapes:
        inputs[shape.consumer, shape.lane_type].add(shape.input)
    for shape in shapes:
        drawn.setdefault(shape.producer, False)
        drawn.setdefault(shape.consumer, False)
        if shape.class_type:
            helpers.setdefault(shape.producer, []).append(f"{shape.consumer} ({shape.class_type})")
            drawn[shape.producer] = drawn[shape.consumer] = True
        else:
            label = LANE_NAMES.get(shape.lane_type, "lane")
            if len(inputs[shape.consumer, shape.lane_type]) > 1:
                label = f"{label}:{shape.input}"
            lanes.setdefault((shape.producer, shape.consumer), []).append(label)
    lines = [line for path in _paths(lanes, drawn) for line in _wrapped(path, width)]
    for invoker, served in helpers.items():
        parts = [invoker, *(f" ⇢ {served[0]}", *(f", {helper}" for helper in served[1:]))]
        lines.extend(_wrapped(parts, width))
    return "\n".join(lines)


def _paths(lanes: dict[tuple[str, str], list[str]], drawn: dict[str, bool]) -> list[list[str]]:
    """Paths that have every pair of connected components once, as pieces of lines; also components without any edge."""
    following: dict[str, list[str]] = {name: [] for name in drawn}
    fed = {consumer for _, consumer in lanes}
    for producer, consumer in lanes:
        following[producer].append(consumer)
    paths: list[list[str]] = []
    starts = [name for name in drawn if name not in fed] + [name for name in drawn if name in fed]
    for start in starts:
        if not following[start] and start not in fed and not drawn[start]:
            paths.append([start])
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if not following[name]:
                continue
            waiting.append(name)  # Its other branches follow when this one is drawn.
            path = [name]
            while following[name]:
                after = following[name].pop(0)
                labels = dict.fromkeys(lanes[name, after])
                path.append(f" ─{', '.join(labels)}→ {after}")
                if following[name]:
                    waiting.append(name)
                name = after
            paths.append(path)
    return paths


def _wrapped(pieces: Sequence[str], width: int) -> list[str]:
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) <= width:
            lines[-1] += piece
        else:
            lines.append(f"    {piece.lstrip(', ')}")
    return lines
