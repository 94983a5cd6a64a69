"""Workflows of NodeTool as pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import all_services, service_names
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.cli.commands.importing import import_workflow
from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.importing.counterparts import COUNTERPARTS, SOURCES
from lanemesh_orchestrator.importing.nodetool import from_nodetool
from lanemesh_orchestrator.importing.workflow import MAX_NODES, NotAWorkflow
from lanemesh_orchestrator.pipeline import LANE_NAMES, validate

from rigs import commands


@pytest.fixture(scope="module")
def types() -> dict[str, node_pb2.Manifest]:
    services = all_services(service_names())
    return {node.provider: manifest_of(node, service.name) for service in services for node in service.nodes}


def node(id_: str, kind: str, title: str = "", /, **data: Any) -> dict[str, Any]:
    return {"id": id_, "parent_id": None, "type": kind, "data": data, "ui_properties": {"title": title}}


def edge(source: str, target: str) -> dict[str, Any]:
    """An edge of two handles: "1.output", "2.text"."""
    (start, out), (end, into) = source.split("."), target.split(".")
    return {"id": f"{source}-{target}", "source": start, "sourceHandle": out, "target": end, "targetHandle": into}


def graph(*parts: dict[str, Any], name: str = "") -> dict[str, Any]:
    nodes = [part for part in parts if "type" in part]
    return {"name": name, "graph": {"nodes": nodes, "edges": [part for part in parts if "source" in part]}}


OPENAI = {"type": "language_model", "provider": "openai", "id": "gpt-4o"}
CHAT = graph(
    node("1", "nodetool.input.StringInput", "Ask me", name="question"),
    node("2", "nodetool.agents.Agent", model=OPENAI, system="Be brief.", max_tokens=100),
    node("3", "nodetool.output.Output", name="answer"),
    node("4", "nodetool.workflows.base_node.Comment", comment=[]),
    edge("1.output", "2.prompt"),
    edge("2.text", "3.value"),
    name="Simple chat",
)


def test_an_agent_is_a_prompt_and_a_model_whose_answers_have_the_name_of_the_output(
    types: dict[str, node_pb2.Manifest],
) -> None:
    imported = from_nodetool(CHAT)
    assert (imported.missing, imported.notes) == ([], [])
    assert imported.document == {
        "version": 1,
        "name": "Simple chat",
        "components": [
            {"id": "chat_1", "provider": "chat", "name": "Ask me"},
            {
                "id": "prompt_1",
                "provider": "prompt",
                "config": {"instructions": ["Be brief."]},
                "input": [{"lane": "questions", "from": "chat_1"}],
            },
            {
                "id": "llm_openai_1",
                "provider": "llm_openai",
                "config": {"model": "gpt-4o", "api_key": "${OPENAI_API_KEY}", "max_tokens": 100},
                "input": [{"lane": "questions", "from": "prompt_1"}],
            },
            {
                "id": "response_1",
                "provider": "response",
                "config": {"result_name": "answer"},
                "input": [{"lane": "answers", "from": "llm_openai_1"}],
            },
        ],
    }
    found = validate(json.dumps(imported.document), types, environment={"OPENAI_API_KEY": "sk-0123456789"})
    assert found.source == "chat_1"


def test_a_recording_is_transcribed_and_summarised_with_a_model_as_helper(types: dict[str, node_pb2.Manifest]) -> None:
    imported = from_nodetool(
        graph(
            node("a", "nodetool.constant.Audio", value={"type": "audio", "uri": "https://example.com/a.mp3"}),
            node("b", "nodetool.text.AutomaticSpeechRecognition"),
            node("c", "nodetool.agents.Summarizer", model={"provider": "ollama", "id": "gemma3"}),
            node("d", "nodetool.workflows.base_node.Preview"),
            edge("a.output", "b.audio"),
            edge("b.text", "c.text"),
            edge("c.text", "d.value"),
        )
    )
    assert imported.missing == []
    assert imported.notes == ["file_1 takes the place of the constant a (Audio): send its audio as the input of a run."]
    found = validate(json.dumps(imported.document), types)
    assert {edge.id for edge in found.edges} == {
        "transcribe_1.text>summarise_1.text",
        "file_1.audio>transcribe_1.audio",
        "summarise_1.summary>response_1.text",
    }
    (control,) = found.controls
    assert (control.helper, control.invoker) == ("llm_openai_1", "summarise_1")


def test_what_has_no_counterpart_is_listed_and_left_out_with_its_edges() -> None:
    imported = from_nodetool(
        graph(
            node("1", "nodetool.input.StringInput"),
            node("2", "nodetool.text.FormatText", template="{{ text }}"),
            node("3", "nodetool.agents.Agent", model=OPENAI, tools=[{"type": "tool_name", "name": "search_email"}]),
            node("4", "nodetool.text.ToUppercase"),
            edge("1.output", "2.text"),
            edge("2.output", "3.prompt"),
            edge("4.output", "3.prompt"),
            edge("9.output", "4.text"),
        )
    )
    assert [(one.node, one.what.split(";")[0]) for one in imported.missing] == [
        ("2", "nodetool.text.FormatText has no counterpart"),
        ("3", "the tool search_email has no counterpart"),
        ("3", "no lane carries the edge from 4 (ToUppercase).output to 3 (Agent).prompt"),
        ("9", "an edge names this node, which does not exist"),
    ]
    assert [one["provider"] for one in imported.document["components"]] == [
        "chat",
        "agent_wave",
        "llm_openai",
        "upper_case",
    ]


def test_a_constant_becomes_a_setting_where_there_is_one() -> None:
    imported = from_nodetool(
        graph(
            node("1", "nodetool.input.DocumentInput"),
            node("2", "nodetool.document.SplitRecursively", chunk_size=1000),
            node("3", "nodetool.constant.Integer", value=200),
            node("4", "nodetool.constant.Integer", value=1),
            edge("1.output", "2.document"),
            edge("3.output", "2.chunk_size"),
            edge("4.output", "2.separators"),
        )
    )
    assert imported.document["components"][1]["config"] == {"size": 200, "overlap": 0}
    assert [one.node for one in imported.missing] == ["4"]


def test_several_constants_of_a_node_are_settings_together() -> None:
    imported = from_nodetool(
        graph(
            node("1", "nodetool.image.Fit"),
            node("2", "nodetool.constant.Integer", value=64),
            node("3", "nodetool.constant.Integer", value=32),
            edge("2.output", "1.width"),
            edge("3.output", "1.height"),
        )
    )
    (component,) = imported.document["components"]
    assert component["config"] == {"width": 64, "height": 32, "fit": "cover", "enlarge": True}


def test_a_constant_that_is_a_setting_of_one_node_and_an_input_of_another_is_both() -> None:
    for order in (1, -1):
        edges = [edge("1.output", "2.text"), edge("1.output", "3.delimiter")][::order]
        imported = from_nodetool(
            graph(
                node("1", "nodetool.constant.String", value=";"),
                node("2", "nodetool.text.ToUppercase"),
                node("3", "nodetool.text.Split"),
                *edges,
            )
        )
        assert imported.missing == []
        upper, split, chat = imported.document["components"]
        assert (split["config"], upper["input"]) == ({"separator": ";"}, [{"lane": "text", "from": chat["id"]}])


def test_a_constant_with_the_value_that_the_node_has_already_is_no_input() -> None:
    imported = from_nodetool(
        graph(
            node("1", "nodetool.constant.String", value="output"),
            node("2", "nodetool.text.SaveText"),
            node("3", "nodetool.constant.Integer", value=500),
            node("4", "nodetool.document.SplitRecursively", chunk_size=500),
            edge("1.output", "2.folder"),
            edge("3.output", "4.chunk_size"),
        )
    )
    assert (imported.missing, imported.notes) == ([], [])
    configs = [one["config"] for one in imported.document["components"]]
    assert configs == [{"folder": "output"}, {"size": 500, "overlap": 200}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.txt", "report"),
        ("a.b.txt", "a.b"),
        ("../../etc/evil.py", "evil"),
        ("/etc/passwd", "passwd"),
        ("..\\evil.py", "evil"),
        (".profile", "profile"),
        ("a\n\0b.txt", "ab"),
        ("x" * 300 + ".txt", "x" * 100),
        ("..", None),
        ("sub/", "sub"),
        ("%Y-%m-%d.txt", None),
        ("", None),
        (5, None),
    ],
)
def test_the_name_of_a_file_that_a_node_saves_is_one_that_a_writer_takes(
    types: dict[str, node_pb2.Manifest], name: Any, expected: str | None
) -> None:
    imported = from_nodetool(
        graph(
            node("1", "nodetool.input.StringInput"),
            node("2", "nodetool.text.SaveText", name=name),
            edge("1.output", "2.text"),
        )
    )
    config = imported.document["components"][1]["config"]
    assert config == {"folder": "output"} | ({"name": expected} if expected else {})
    validate(json.dumps(imported.document), types)


def test_what_is_left_out_of_the_name_of_a_file_is_a_note() -> None:
    def notes(name: str) -> list[str]:
        return list(from_nodetool(graph(node("1", "nodetool.text.SaveText", "Save", name=name))).notes)

    assert notes("report.txt") == []
    folders = "file_writer_1 writes into its folder, not into those of the name of its file: see 1 (SaveText)."
    assert notes("sub/report.txt") == notes("..\\report.txt") == [folders]
    assert notes("%Y.txt") == ["file_writer_1 does not put the time into the names of files: see 1 (SaveText)."]
    constant = node("2", "nodetool.constant.String", value="../report.txt")
    imported = from_nodetool(graph(node("1", "nodetool.text.SaveText"), constant, edge("2.output", "1.name")))
    assert imported.notes == [folders]
    assert imported.document["components"][0]["config"]["name"] == "report"


def test_a_resized_image_is_stretched_and_a_fitted_one_is_cropped() -> None:
    fits = [
        from_nodetool(graph(node("1", kind))).document["components"][0]["config"]["fit"]
        for kind in ("nodetool.image.Resize", "nodetool.image.Fit")
    ]
    assert fits == ["stretch", "cover"]


@pytest.mark.parametrize(
    ("kind", "data", "config"),
    [
        (
            "nodetool.triggers.FileWatchTrigger",
            {"path": "in", "patterns": ["*.md"], "ignore_patterns": ["draft*"]},
            {"path": "in", "hidden": True, "globs": ["*.md"], "exclude": ["draft*"], "recursive": False},
        ),
        ("nodetool.triggers.FileWatchTrigger", {"path": "in", "recursive": True}, {"path": "in", "hidden": True}),
        ("nodetool.text.Split", {}, {"separator": ","}),
        ("nodetool.text.Split", {"delimiter": ";"}, {"separator": ";"}),
        ("nodetool.document.SplitRecursively", {}, {"size": 1000, "overlap": 200}),
        ("nodetool.document.SplitRecursively", {"chunk_size": 100}, {"size": 100, "overlap": 0}),
        ("nodetool.document.SplitRecursively", {"chunk_overlap": 5}, {"size": 1000, "overlap": 5}),
        ("nodetool.text.Chunk", {}, {"mode": "tokens", "size": 100, "overlap": 0}),
        ("nodetool.text.Chunk", {"length": 7}, {"mode": "tokens", "size": 7, "overlap": 0}),
        ("nodetool.document.SplitMarkdown", {}, {"mode": "markdown"}),
        ("nodetool.video.FrameToVideo", {}, {"rate": 30}),
    ],
)
def test_what_a_node_does_by_default_is_set_where_its_component_does_otherwise(
    types: dict[str, node_pb2.Manifest], kind: str, data: dict[str, Any], config: dict[str, Any]
) -> None:
    (component,) = from_nodetool(graph(node("1", kind, **data))).document["components"]
    assert component["config"] == config
    assert json.loads(types[component["provider"]].config_schema_json)["properties"].keys() >= config.keys()


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("nodetool.triggers.FileWatchTrigger", {}, "also sends the files that are there at its start"),
        ("nodetool.triggers.FileWatchTrigger", {"events": ["created"]}, "sends new and changed files alike"),
        ("nodetool.triggers.FileWatchTrigger", {"max_events": 3}, "does not end after a number of files"),
        ("nodetool.triggers.IntervalTrigger", {"initial_delay_seconds": 5}, "begins without a delay"),
        ("nodetool.document.SplitRecursively", {"separators": ["|"]}, "not at other separators"),
        ("nodetool.document.SplitDocument", {}, "not by meaning"),
        ("nodetool.document.SplitMarkdown", {}, "cuts sections of more than 1,000 characters"),
        ("nodetool.text.Chunk", {}, "counts words and signs"),
        ("nodetool.video.FrameIterator", {"start": 10}, "sends all frames"),
        ("nodetool.video.FrameIterator", {"end": 10}, "sends all frames"),
    ],
)
def test_what_a_component_does_otherwise_than_its_node_is_a_note(kind: str, data: dict[str, Any], said: str) -> None:
    notes = from_nodetool(graph(node("1", kind, **data))).notes
    assert any(said in note and note.endswith(f"see 1 ({kind.rpartition('.')[2]}).") for note in notes)


@pytest.mark.parametrize(
    "kind",
    ["nodetool.triggers.IntervalTrigger", "nodetool.document.SplitRecursively", "nodetool.video.FrameIterator"],
)
def test_a_component_that_does_as_its_node_has_no_note(kind: str) -> None:
    assert from_nodetool(graph(node("1", kind))).notes == []


def test_a_text_that_was_typed_into_a_node_is_sent_as_an_input_or_is_missing() -> None:
    imported = from_nodetool(
        graph(
            node("1", "nodetool.agents.Agent", model=OPENAI, prompt="Tell a joke"),
            node("2", "nodetool.input.StringInput"),
            node("3", "nodetool.agents.Agent", model=OPENAI, prompt="Answer this", text=""),
            edge("2.output", "3.text"),
        )
    )
    assert imported.notes[0] == (
        'chat_2 takes the place of prompt of 1 (Agent): send the text "Tell a joke" as the input of a run.'
    )
    assert [(one.node, one.what) for one in imported.missing] == [
        ("3", 'the text "Answer this" of its prompt has no counterpart; connect it as an input')
    ]
    assert imported.document["components"][0]["input"] == [{"lane": "questions", "from": "chat_2"}]


def test_texts_of_the_workflow_are_no_variables(types: dict[str, node_pb2.Manifest]) -> None:
    secret = "cost ${OPENAI_API_KEY} and $${HOME}"
    imported = from_nodetool(
        graph(
            node("1", "nodetool.input.StringInput"),
            node("2", "nodetool.agents.Agent", model=OPENAI, system=secret),
            edge("1.output", "2.prompt"),
        )
    )
    variables = {"OPENAI_API_KEY": "sk-0123456789", "HOME": "/root"}
    found = validate(json.dumps(imported.document), types, environment=variables)
    assert json.loads(found.components["prompt_1"].config)["instructions"] == [secret]
    assert json.loads(found.components["llm_openai_1"].config)["api_key"] == "sk-0123456789"


def test_names_of_the_workflow_in_messages_are_cut_and_printable() -> None:
    imported = from_nodetool(graph(node("\x1b[31m" + "x" * 1000, "no.such\x07Type")))
    (missing,) = imported.missing
    assert len(missing.node) < 100
    assert (missing.node + missing.what).isprintable()


def test_a_model_that_is_not_known_is_replaced_by_a_small_local_one() -> None:
    imported = from_nodetool(graph(node("1", "nodetool.agents.Agent", model={"provider": "other", "id": "x"})))
    (model,) = imported.document["components"]
    assert (model["provider"], model["config"]) == ("llm_llamacpp", {"profile": "smollm2"})
    assert "takes its place" in imported.notes[0]


def test_several_inputs_become_several_sources() -> None:
    imported = from_nodetool(graph(node("1", "nodetool.input.StringInput"), node("2", "nodetool.input.ImageInput")))
    assert imported.notes == ["A run feeds one of its inputs, which --source names: chat_1, file_1."]


def test_a_node_type_that_the_mesh_lacks_has_no_counterpart() -> None:
    imported = from_nodetool(graph(node("1", "lib.ocr.PaddleOCR")), frozenset({"chat"}))
    assert imported.missing[0].what == "lib.ocr.PaddleOCR has no counterpart: the node type ocr is not there"


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {},
        {"nodes": [], "edges": {}},
        {"nodes": [1], "edges": []},
        {"nodes": [{"id": "1"}], "edges": []},
        {"nodes": [], "edges": [{"source": "1"}]},
        {"nodes": [{}] * (MAX_NODES + 1), "edges": []},
        {"nodes": [{"id": 1, "type": "a"}, {"id": "1", "type": "b"}], "edges": []},
        {"nodes": [{"id": {}, "type": "a"}], "edges": []},
    ],
    ids=["list", "empty", "edges", "node", "type", "target", "large", "duplicate", "id"],
)
def test_what_is_no_workflow_is_refused(tree: Any) -> None:
    with pytest.raises(NotAWorkflow):
        from_nodetool(tree)


def test_every_counterpart_has_the_ports_of_its_node_type(types: dict[str, node_pb2.Manifest]) -> None:
    wrong = []
    for kind, one in (*COUNTERPARTS.items(), *SOURCES.items()):
        manifest = types[one.provider]
        for side, known, ports in (("in", manifest.inputs, one.inputs), ("out", manifest.outputs, one.outputs)):
            lanes = {LANE_NAMES.get(port.lane_type, "") for port in known}
            names = {port.name for port in known}
            wrong += [
                (kind, side, lane, port)
                for pairs in ports.values()
                for lane, port in pairs
                if lane not in lanes or (port and port not in names)
            ]
    assert wrong == []


def test_the_command_writes_a_pipeline_and_fails_if_it_is_strict(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text(json.dumps(CHAT))
    (tmp_path / "odd.json").write_text(json.dumps(graph(node("1", "no.such.Type"))))
    (tmp_path / "none.json").write_text("[]")
    written = commands.run("import", "chat.json", "--output", "chat.pipe", "--strict", folder=tmp_path)
    assert written.returncode == 0
    assert json.loads((tmp_path / "chat.pipe").read_text()) == from_nodetool(CHAT).document
    printed = commands.run("import", "odd.json", folder=tmp_path)
    assert (printed.returncode, json.loads(printed.stdout)["components"]) == (0, [])
    assert "no.such.Type has no counterpart" in printed.stderr
    strict = commands.run("import", "odd.json", "--strict", folder=tmp_path)
    assert (strict.returncode, strict.stdout) == (1, "")
    assert "is not a workflow of NodeTool" in commands.run("import", "none.json", folder=tmp_path).stderr


@pytest.mark.parametrize("text", ['{"name": "\\ud800"}', '{"size": NaN}', "[" * 100_000, "{"])
def test_json_that_no_pipeline_can_have_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(CommandError, match="is not JSON that a pipeline can have"):
        import_workflow(str(tmp_path / "odd.json"), HostOptions(), output=None, strict=False)
