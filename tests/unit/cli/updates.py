"""Updates as a run gives them, made by hand, and streams that remember what was written to them."""

from __future__ import annotations

from lanemesh.v1 import lane_pb2, update_pb2


def output(
    component: str = "response_1", group: str = "", *, last: bool = False, **payload: object
) -> update_pb2.Update:
    """An output whose item has this payload, such as `text="a"`."""
    item = lane_pb2.Item(**payload)  # type: ignore[arg-type]
    if group:
        item.group.id, item.group.last = group, last
    return update_pb2.Update(output=update_pb2.OutputUpdate(component=component, port="in", item=item))


class Page:
    """Takes the place of `Streams`: what would be on standard output and on standard error."""

    def __init__(self) -> None:
        self.shown = b""
        self.notes: list[str] = []
        self.closed = False
        self.out_is_terminal = False
        self.wrote_out = False

    @property
    def text(self) -> str:
        return self.shown.decode()

    def out(self, data: str | bytes) -> None:
        self.shown += data.encode() if isinstance(data, str) else data
        self.wrote_out = True

    def note(self, text: str, *, dim: bool = False) -> None:
        self.notes.append(text)
