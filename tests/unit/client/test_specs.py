"""The valid forms of a pipeline, its inputs and the options of a mesh, and the errors for all others."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lanemesh.client.results import RunResult
from lanemesh.client.specs import Deployed, input_list, one_or_many, run_spec
from lanemesh.client.updates import OutputUpdate, RunState
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh_orchestrator import Mesh

NODES = '''
from lanemesh import Context, In, Node, Out


class Loud(Node):
    """Upper-cases."""

    text: In[str]
    loud: Out[str]

    def process(self, context: Context):
        return {"loud": self.text.upper()}
'''


def test_a_pipeline_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pipe"
    path.write_text('{"components": [], "name": "ä"}', encoding="utf-8")
    assert json.loads(run_spec(path, None).pipeline_json) == {"components": [], "name": "ä"}
    with pytest.raises(FileNotFoundError, match=r"nothing\.pipe"):
        run_spec(tmp_path / "nothing.pipe", None)


@pytest.mark.parametrize("given", [5, None, ["a"]])
async def test_what_is_no_pipeline_is_refused_in_words(given: Any) -> None:
    with pytest.raises(TypeError, match=r"for a file use pathlib.Path\('chat.pipe'\)"):
        run_spec("chat.pipe", None)
    with pytest.raises(TypeError, match=r"a pipeline is .*pathlib.Path of a .pipe file, not "):
        Mesh().run(given, input="x")


@pytest.mark.parametrize(
    ("text", "name", "version"), [("@chat", "chat", 0), ("@chat:2", "chat", 2), ("@a-b_1:010", "a-b_1", 10)]
)
def test_a_deployed_pipeline_may_be_named_by_a_text(text: str, name: str, version: int) -> None:
    spec = run_spec(text, None)
    assert (spec.deployment.name, spec.deployment.version, spec.pipeline_json) == (name, version, "")
    assert run_spec(Deployed(name, version), None) == spec


@pytest.mark.parametrize(
    "text", ["@", "@:1", "@chat:", "@chat:x", "@chat:1:2", "@chat:-1", "@chat:9999999999", "@chat:²"]
)
def test_a_misspelt_name_of_a_deployed_pipeline_is_refused(text: str) -> None:
    with pytest.raises(LanemeshError, match="write a deployed pipeline as @NAME") as caught:
        run_spec(text, None)
    assert (caught.value.fault.code, caught.value.fault.reason) == (Code.INVALID_ARGUMENT, "bad-name")


@pytest.mark.parametrize("given", ["abc", b"abc", {"a": 1}, 5])
def test_one_value_is_not_taken_for_many(given: Any) -> None:
    for take in (input_list, one_or_many):
        with pytest.raises(TypeError, match=r"pass a single value as input=\.\.\."):
            take(None, given)
    assert input_list(given, None) == [given]


@pytest.mark.parametrize("spread", ["yes", True, ""])
def test_there_are_two_ways_to_spread(spread: Any) -> None:
    with pytest.raises(ValueError, match='"service", "component" or None, not'):
        Mesh(spread)


async def test_files_of_nodes_may_be_strings_or_a_single_one(tmp_path: Path) -> None:
    path = tmp_path / "loud_nodes.py"
    path.write_text(NODES)
    for given in ([str(path)], str(path), path, [path]):
        async with Mesh(nodes=given) as mesh:
            assert "loud" in {manifest.provider for manifest in await mesh.node_types()}


def test_a_result_is_shown_with_its_state_in_words() -> None:
    output = OutputUpdate(
        sequence=1, time=datetime.now(UTC), component="response_1", port="text", lane="text", value="x"
    )
    completed = RunResult("r", RunState.COMPLETED, (output,))
    assert repr(completed) == "RunResult(run_id='r', state=completed, values=('x',))"
    assert completed.state == "completed"
    assert (completed.text, completed["response_1"], completed.values) == ("x", ("x",), ("x",))
    with pytest.raises(KeyError, match="response_2"):
        completed["response_2"]
    completed.raise_for_state()
    fault = Fault(code=Code.UNKNOWN, reason="node-error", message="no")
    failed = repr(RunResult("r", RunState.FAILED, (), error=fault, missed=2))
    assert failed == f"RunResult(run_id='r', state=failed, values=(), error={fault!r}, missed=2)"
