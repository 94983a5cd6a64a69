"""Updates of helpers and the times of nodes, as clients read them."""

from __future__ import annotations

from lanemesh import HelperUpdate, NodeUpdate
from lanemesh.client.update_conversion import from_wire
from lanemesh.v1 import update_pb2
from lanemesh.values import Usage


def test_a_helper_update_has_calls_and_tokens() -> None:
    update = update_pb2.Update(helper=update_pb2.HelperUpdate(component="m", calls=3, active_calls=1, failed_calls=2))
    read = from_wire(update)
    assert isinstance(read, HelperUpdate)
    assert (read.component, read.calls, read.active_calls, read.failed_calls, read.usage) == ("m", 3, 1, 2, None)

    update.helper.usage.prompt_tokens, update.helper.usage.completion_tokens = 5, 7
    read = from_wire(update)
    assert isinstance(read, HelperUpdate)
    assert read.usage == Usage(5, 7)


def test_a_node_update_has_its_times_in_seconds() -> None:
    node = update_pb2.NodeUpdate(component="a", state=update_pb2.NODE_STATE_RUNNING)
    node.waiting.FromMilliseconds(1500)
    node.blocked.FromMilliseconds(250)
    read = from_wire(update_pb2.Update(node=node))
    assert isinstance(read, NodeUpdate)
    assert (read.waiting, read.busy, read.blocked) == (1.5, 0, 0.25)
