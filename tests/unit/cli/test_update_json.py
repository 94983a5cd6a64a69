"""Updates as JSON lines."""

import json
from typing import Any

import pytest
from lanemesh.faults import Code, Fault
from lanemesh.v1 import control_pb2, lane_pb2, update_pb2
from lanemesh_orchestrator.cli.output.json_lines import to_line
from lanemesh_orchestrator.update_json import to_json

from unit.cli.updates import output


def flat(**kind: Any) -> dict[str, Any]:
    """The JSON of an update of one kind, without what all of them have."""
    told = to_json(update_pb2.Update(sequence=7, **kind))
    assert list(told)[:3] == ["sequence", "time", "update"]
    return {name: value for name, value in told.items() if name not in ("sequence", "time")}


def test_every_line_has_its_number_its_time_and_its_kind() -> None:
    update = update_pb2.Update(
        sequence=7, log=update_pb2.LogUpdate(component="a", level=update_pb2.LOG_LEVEL_INFO, message="é\n")
    )
    update.time.FromJsonString("2025-01-02T03:04:05.250Z")

    line = to_line(update)

    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "sequence": 7,
        "time": "2025-01-02T03:04:05.250Z",
        "update": "log",
        "component": "a",
        "level": "info",
        "message": "é\n",
    }


def test_a_running_job_has_all_placements() -> None:
    placement = update_pb2.Placement(component="llm_1", provider="llm", server="llm", address="127.0.0.1:7", pid=5)
    edges = [
        update_pb2.EdgeShape(
            edge_id="a.t>b.t", producer="a", output="t", consumer="b", input="t", lane_type=lane_pb2.LANE_TYPE_TEXT
        ),
        update_pb2.EdgeShape(producer="agent_1", consumer="llm_1", class_type="llm"),
    ]
    job = update_pb2.JobUpdate(run_id="r", state=update_pb2.RUN_STATE_RUNNING, placements=[placement], edges=edges)

    assert flat(job=job) == {
        "update": "job",
        "run_id": "r",
        "state": "running",
        "placements": [
            {"component": "llm_1", "provider": "llm", "server": "llm", "address": "127.0.0.1:7", "pid": 5},
        ],
        "edges": [
            {"edge": "a.t>b.t", "producer": "a", "output": "t", "consumer": "b", "input": "t", "lane": "text"},
            {"producer": "agent_1", "consumer": "llm_1", "class_type": "llm"},
        ],
    }


def test_an_error_is_flat_and_keeps_the_users_frames() -> None:
    fault = Fault(code=Code.UNKNOWN, reason="node-error", message="no", details={"component": "a"}, traceback="File")
    job = update_pb2.JobUpdate(run_id="r", state=update_pb2.RUN_STATE_FAILED, error=fault.to_proto())

    error = flat(job=job)["error"]

    details = {"component": "a"}
    told = {"code": "UNKNOWN", "reason": "node-error", "message": "no", "details": details, "traceback": "File"}
    assert error == told


@pytest.mark.parametrize(
    ("payload", "lane", "value"),
    [
        ({"text": "a"}, "text", "a"),
        ({"data_json": "[1,null]"}, "data", [1, None]),
        ({"tags_json": '{"k":1}'}, "tags", {"k": 1}),
        ({"answer": lane_pb2.Answer(text="a")}, "answers", {"text": "a"}),
        (
            {"answer": lane_pb2.Answer(finish_reason="stop", usage=lane_pb2.Usage(completion_tokens=3))},
            "answers",
            {"text": "", "finish_reason": "stop", "usage": {"prompt_tokens": 0, "completion_tokens": 3}},
        ),
        ({"answer": lane_pb2.Answer(data_json="{}")}, "answers", {"data": {}}),
        (
            {"document": lane_pb2.Document(content="c", source="s", score=0.0, metadata_json='{"a":1}')},
            "documents",
            {"content": "c", "source": "s", "score": 0.0, "metadata": {"a": 1}},
        ),
        (
            {"question": lane_pb2.Question(text="q", history=[lane_pb2.Message(role="user", content="h")])},
            "questions",
            {"text": "q", "history": [{"role": "user", "content": "h"}]},
        ),
        (
            {"table": lane_pb2.Table(columns=["a"], rows=[lane_pb2.TableRow(cells_json=["1"])])},
            "table",
            {"columns": ["a"], "rows": [[1]]},
        ),
        (
            {"image": lane_pb2.Media(mime_type="image/png", content=b"abc", width=2)},
            "image",
            {"mime_type": "image/png", "bytes": 3, "width": 2, "content": "YWJj"},
        ),
    ],
)
def test_an_output_has_its_lane_and_its_value(payload: dict[str, Any], lane: str, value: Any) -> None:
    told = flat(output=output(**payload).output)

    assert told == {"update": "output", "component": "response_1", "port": "in", "lane": lane, "value": value}


def test_a_piece_has_its_group_and_the_end_of_it() -> None:
    item = lane_pb2.Item(group=lane_pb2.Group(id="g", index=3, last=True, outcome=lane_pb2.GROUP_OUTCOME_CANCELLED))

    told = flat(output=update_pb2.OutputUpdate(component="a", port="text", item=item))

    assert told["group"] == "g"
    assert told["index"] == 3
    assert told["last"] is True
    assert told["outcome"] == "cancelled"
    assert "value" not in told


def test_media_in_a_file_is_not_written_twice() -> None:
    update = output(image=lane_pb2.Media(mime_type="image/png", content=b"abc"))

    assert to_json(update, file="a.png")["value"] == {"mime_type": "image/png", "bytes": 3, "file": "a.png"}


def test_each_activity_of_an_agent_has_its_own_form() -> None:
    call = lane_pb2.ToolCall(id="1", name="add", arguments_json='{"a": 1}')
    result = control_pb2.ToolResult(call_id="1", name="add", content_json="three", is_error=True)
    result.duration.FromMilliseconds(250)

    assert flat(tool=update_pb2.ToolUpdate(component="agent_1", wave=1, thought="hm"))["text"] == "hm"
    assert flat(tool=update_pb2.ToolUpdate(component="agent_1", wave=1, call=call))["arguments"] == {"a": 1}
    told = flat(tool=update_pb2.ToolUpdate(component="agent_1", wave=2, result=result))
    del told["update"], told["component"]
    expected = {"call_id": "1", "tool": "add", "content": "three", "is_error": True, "seconds": 0.25}
    assert told == {"wave": 2, "event": "result", **expected}


def test_nodes_edges_and_progress_are_flat() -> None:
    node = update_pb2.NodeUpdate(component="a", state=update_pb2.NODE_STATE_SKIPPED, detail="why", firings=0)
    assert flat(node=node) == {"update": "node", "component": "a", "state": "skipped", "firings": 0, "detail": "why"}
    edge = flat(edge=update_pb2.EdgeUpdate(edge_id="e", sent=3, consumed=2, buffered=1, limit_items=256))
    counts = {"sent": 3, "consumed": 2, "buffered": 1, "drained": False, "limit_items": 256}
    assert edge == {"update": "edge", "edge": "e", **counts}
    progress = flat(progress=update_pb2.ProgressUpdate(component="a", done=1, total=4, message="m"))
    assert progress == {"update": "progress", "component": "a", "done": 1.0, "total": 4.0, "message": "m"}


def test_failed_firings_and_grown_edges_are_written_if_there_are_any() -> None:
    node = update_pb2.NodeUpdate(component="a", state=update_pb2.NODE_STATE_COMPLETED, firings=9, skipped_firings=2)
    assert flat(node=node) == {
        "update": "node",
        "component": "a",
        "state": "completed",
        "firings": 9,
        "skipped_firings": 2,
    }
    grown = flat(edge=update_pb2.EdgeUpdate(edge_id="e", limit_items=32, growths=1, detail="grown"))
    assert (grown["growths"], grown["detail"]) == (1, "grown")
    assert not {"growths", "detail"} & set(flat(edge=update_pb2.EdgeUpdate(edge_id="e")))
