"""Pipelines written in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Context
from lanemesh.client.pipeline import Pipeline
from lanemesh.faults import LanemeshError
from lanemesh.node.manifest import manifest_of
from lanemesh.node.node import Node
from lanemesh.node.ports import In, Out
from lanemesh_orchestrator.pipeline import validate
from pydantic import BaseModel, SecretStr


class Add(Node):
    """Adds."""

    a: In[float]
    b: In[float] = 0.0
    total: Out[float]

    def process(self, context: object) -> dict[str, float]:
        return {"total": self.a + self.b}


class Say(Node):
    """Says."""

    said: Out[str]
    number: Out[float]

    def process(self, context: object) -> dict[str, str]:
        return {"said": "hello"}


class Take(Node):
    """Takes."""

    data: In[float]

    def process(self, context: object) -> None:
        return None


class Clock(Node):
    """Tells the time to an agent."""

    offers = ("tool",)


def reason(error: pytest.ExceptionInfo[LanemeshError]) -> str:
    return error.value.fault.reason


def test_ports_named_after_lanes_need_no_more() -> None:
    pipeline = Pipeline("talk", timeout=60)
    chat = pipeline.add("chat")
    llm = pipeline.add("llm_llamacpp", profile="smollm2")
    chat.questions >> llm.questions
    llm.answers >> pipeline.add("response", lane="answers").answers

    assert pipeline.to_dict() == {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {
                "id": "llm_llamacpp_1",
                "provider": "llm_llamacpp",
                "config": {"profile": "smollm2"},
                "input": [{"lane": "questions", "from": "chat_1"}],
            },
            {
                "id": "response_1",
                "provider": "response",
                "config": {"lane": "answers"},
                "input": [{"lane": "answers", "from": "llm_llamacpp_1"}],
            },
        ],
        "name": "talk",
        "timeout": 60,
        "version": 1,
    }
    assert json.loads(pipeline.to_json()) == pipeline.to_dict()


def test_ports_of_a_class_have_their_lanes_and_the_document_is_valid() -> None:
    pipeline = Pipeline()
    say, add = pipeline.add(Say), pipeline.add(Add, "sum")
    say.number >> add.a
    pipeline.connect(say.number, add.b, buffer_limit=3)
    add.total >> pipeline.add("take").data

    entries = pipeline.to_dict()["components"]
    assert entries[1]["input"] == [
        {"lane": "data", "from": "say_1", "output": "number", "input": "a"},
        {"lane": "data", "from": "say_1", "output": "number", "input": "b", "buffer_limit": 3},
    ]
    manifests = {node.provider: manifest_of(node) for node in (Say, Add)}
    manifests["take"] = manifest_of(Take)
    assert len(validate(pipeline.to_json(), manifests).edges) == 3


def test_a_lane_may_be_given() -> None:
    pipeline = Pipeline()
    left, right = pipeline.add("left"), pipeline.add("right")
    assert (left.port("count", lane="data") >> right.total) is right
    assert right.inputs == [{"lane": "data", "from": "left_1", "output": "count", "input": "total"}]


def test_fields_helpers_and_settings() -> None:
    pipeline = Pipeline()
    agent = pipeline.add("agent_wave", max_waves=3, config={"instructions": "be brief"})
    pipeline.add(Clock).helps(agent)
    pipeline.add("llm_scripted", script=Path("x.txt")).helps(agent, "llm")
    join = pipeline.add(Add).set(sync_mode="join", join_on=agent.answers, timeout=5)
    pipeline.source = agent

    document = json.loads(pipeline.to_json())
    assert document["source"] == "agent_wave_1"
    assert document["components"][0]["config"] == {"instructions": "be brief", "max_waves": 3}
    assert document["components"][1]["control"] == [{"classType": "tool", "from": "agent_wave_1"}]
    assert document["components"][2]["config"] == {"script": "x.txt"}
    assert join.to_dict()["join_on"] == "agent_wave_1.answers"


def test_ids_are_made_and_kept_apart() -> None:
    pipeline = Pipeline()
    assert [pipeline.add("chat").id, pipeline.add("chat").id] == ["chat_1", "chat_2"]
    with pytest.raises(LanemeshError) as taken:
        pipeline.add("prompt", "chat_2")
    assert reason(taken) == "duplicate-id"


def test_the_error_of_an_invalid_connection_has_the_reason() -> None:
    pipeline = Pipeline()
    say, add, other = pipeline.add(Say), pipeline.add(Add), Pipeline().add("prompt")
    with pytest.raises(LanemeshError, match=r"say_1\.said sends text, and add_1\.a takes data") as mismatch:
        say.said >> add.a
    with pytest.raises(LanemeshError, match='say_1 has no output "sid"; there are: said, number') as unknown:
        say.sid >> add.a
    with pytest.raises(LanemeshError, match="belongs to another pipeline") as foreign:
        say.said >> other.text
    with pytest.raises(LanemeshError, match=r'left_1.port\("count", lane="data"\)') as unsaid:
        pipeline.add("left").count >> pipeline.add("right").total
    assert [reason(error) for error in (mismatch, unknown, foreign, unsaid)] == [
        "lane-mismatch",
        "unknown-port",
        "other-pipeline",
        "unknown-lane",
    ]
    with pytest.raises(LanemeshError, match="a component has no field"):
        add.set(colour="red")
    with pytest.raises(LanemeshError, match='pass the class of the helper left_1 of add_1: "llm" or "tool"'):
        pipeline.components["left_1"].helps(add)
    pipeline.add("odd", thing=object())
    with pytest.raises(LanemeshError, match="a setting is not a JSON value: object"):
        pipeline.to_json()


def test_secrets_of_a_config_class_reach_the_document() -> None:
    class Keyed(Node):
        class Config(BaseModel):
            key: SecretStr = SecretStr("")
            model: str = ""

        text: In[str]
        said: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            return {}

    pipeline = Pipeline()
    pipeline.add(Keyed, config=Keyed.Config(key=SecretStr("sk-1")))
    pipeline.add(Keyed, key=SecretStr("sk-2"))
    configs = [component["config"] for component in json.loads(pipeline.to_json())["components"]]
    assert configs == [{"key": "sk-1"}, {"key": "sk-2"}]


def test_a_setting_that_a_node_class_does_not_have_is_an_error_at_once() -> None:
    class Limited(Node):
        class Config(BaseModel):
            limit: int = 1

        text: In[str]
        said: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            return {}

    pipeline = Pipeline()
    with pytest.raises(LanemeshError, match='limited has no setting "limits"; nearest: limit'):
        pipeline.add(Limited, limits=2)
    pipeline.add(Limited, limit=2)
    pipeline.add(Limited, profile="own", own={"limit": 3})
    assert len(pipeline.components) == 2


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "path", [*(ROOT / "examples").glob("*.pipe"), *(ROOT / "tests/data/rocketride").glob("[!b]*.pipe")]
)
def test_a_document_that_was_loaded_is_written_as_it_was(path: Path) -> None:
    document = json.loads(path.read_text())
    written = Pipeline.load(path).to_dict()
    for entry in document["components"]:
        if not entry.get("config"):
            entry.pop("config", None)
    assert written == {**document, "version": 1}


def test_a_document_that_was_loaded_can_be_changed() -> None:
    pipeline = Pipeline.load(ROOT / "examples" / "chat.pipe")
    (model,) = [component for component in pipeline.components.values() if component.provider.startswith("llm_")]
    pipeline[model.id].config["temperature"] = 0
    model.text >> pipeline.add("response", "plain", lane="text").text
    *_, last = json.loads(pipeline.to_json())["components"]
    assert last == {
        "id": "plain",
        "provider": "response",
        "config": {"lane": "text"},
        "input": [{"lane": "text", "from": model.id}],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "a pipeline is"),
        ('{"components": [{"id": "a"}]}', "a pipeline is"),
        ('{"components": [{"id": "a", "provider": "b"}, {"id": "a", "provider": "b"}]}', 'component "a" already'),
    ],
)
def test_what_is_no_pipeline_cannot_be_loaded(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.pipe"
    file.write_text(text)
    with pytest.raises(LanemeshError, match=said):
        Pipeline.load(file)


@pytest.mark.parametrize("wrong", [None, [1], 0, "x"])
@pytest.mark.parametrize("field", ["config", "input", "control"])
def test_a_field_of_a_component_that_is_wrong_stays_for_the_validation(field: str, wrong: object) -> None:
    document = {"components": [{"id": "a", "provider": "b", field: wrong}], "version": 1}

    assert Pipeline.from_dict(document).to_dict() == document


@pytest.mark.parametrize(
    ("field", "wrong"), [("name", 0), ("name", None), ("source", 5), ("timeout", "x"), ("trace", None)]
)
def test_a_field_of_a_pipeline_that_is_wrong_stays_for_the_validation(field: str, wrong: object) -> None:
    document = {"components": [], "version": 1, field: wrong}

    assert Pipeline.from_dict(document).to_dict() == document


def test_a_deployed_pipeline_is_a_component_with_an_id_of_its_own() -> None:
    pipeline = Pipeline()
    assert [pipeline.add(provider).id for provider in ("@chat", "@chat:2", "@chat")] == ["chat_1", "chat_2_1", "chat_2"]
