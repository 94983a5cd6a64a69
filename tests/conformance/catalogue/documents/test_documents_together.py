"""Files through whole pipelines: read, split, summarised, extracted from, translated, in a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document, Media
from lanemesh_orchestrator import Mesh

INPUTS = Path(__file__).parents[4] / "examples" / "inputs"
HANDBOOK = Document("", source="handbook.pdf", file=Media("application/pdf", (INPUTS / "handbook.pdf").read_bytes()))
SCHEMA = {
    "type": "object",
    "properties": {"hours": {"type": "integer"}},
    "required": ["hours"],
    "additionalProperties": False,
}


def node(component: str, provider: str, lane: str = "", before: str = "", **config: Any) -> dict[str, Any]:
    """A component with one input."""
    entry: dict[str, Any] = {"id": component, "provider": provider, "config": config}
    return entry | ({"input": [{"lane": lane, "from": before}]} if lane else {})


def model(component: str, answer: str) -> dict[str, Any]:
    """A model with one answer, for a component."""
    control = [{"classType": "llm", "from": component}]
    return {"id": f"{component}_model", "provider": "llm_scripted", "config": {"script": [answer]}, "control": control}


def pipeline(*components: dict[str, Any], lanes: dict[str, str]) -> dict[str, Any]:
    """A pipeline whose target gets these lanes, each from a component."""
    target = {
        "id": "out",
        "provider": "response",
        "input": [{"lane": lane, "from": component} for component, lane in lanes.items()],
    }
    return {"version": 1, "source": components[0]["id"], "components": [*components, target]}


EVERYTHING = pipeline(
    node("files", "dropper"),
    node("parse", "parse", "documents", "files"),
    node("splitter", "splitter", "documents", "parse", mode="sentences", size=100, overlap=0),
    node("language", "language", "documents", "parse", languages=["en", "de"]),
    node("summarise", "summarise", "text", "parse", part=200),
    node("extract", "extract", "text", "parse", schema=SCHEMA, part=200),
    node("translate", "translate", "documents", "parse", language="German"),
    model("summarise", "It is about a harbour."),
    model("extract", '{"hours": 10}'),
    model("translate", "Der Hafen."),
    lanes={"splitter": "documents", "summarise": "answers", "extract": "data", "language": "tags", "translate": "text"},
)


async def test_a_file_is_read_split_summarised_and_extracted_from_in_one_run() -> None:
    async with Mesh() as mesh:
        result = await mesh.run(EVERYTHING, inputs=[HANDBOOK]).result()
    by_lane: dict[str, list[Any]] = {}
    for output in result.outputs:
        by_lane.setdefault(output.lane, []).append(output.value)
    assert [chunk.metadata["page"] for chunk in by_lane["documents"]] == [1, 1, 2, 2, 3, 3]
    assert [chunk.chunk_index for chunk in by_lane["documents"]] == [0, 1, 2, 3, 4, 5]
    assert "".join(answer.text for answer in by_lane["answers"]) == "It is about a harbour."
    assert "".join(by_lane["text"]) == "Der Hafen." * 3  # a paragraph a page
    assert by_lane["data"] == [{"hours": 10}]  # of the whole file, in parts
    assert [tags["language"] for tags in by_lane["tags"]] == ["en", "en", "en"]


async def test_a_file_that_cannot_be_read_is_skipped_and_the_next_one_is_read() -> None:
    parse = node("parse", "parse", "documents", "files") | {"on_error": "skip"}
    files = [Document("", source="broken.pdf", file=Media("application/pdf", b"%PDF-1.7")), HANDBOOK]
    async with Mesh() as mesh:
        run = mesh.run(pipeline(node("files", "dropper"), parse, lanes={"parse": "documents"}), inputs=files)
        result = await run.result()
    assert {page.source for page in result.values} == {"handbook.pdf"}
    assert len(result.values) == 3


async def test_the_form_of_rocketride_reads_and_splits_what_comes_as_tags() -> None:
    components = (
        node("webhook", "webhook", mode="Source", parameters={}, type="webhook", hideForm=True),
        node("parse", "parse", "tags", "webhook"),
        node(
            "chunks",
            "preprocessor_langchain",
            "text",
            "parse",
            profile="default",
            default={"mode": "strlen", "splitter": "RecursiveCharacterTextSplitter", "strlen": 150},
            parameters={},
        ),
    )
    file = Media("application/octet-stream", (INPUTS / "handbook.docx").read_bytes())
    async with Mesh() as mesh:
        run = mesh.run(
            pipeline(*components, lanes={"chunks": "documents"}),
            inputs=[Document("", source="handbook.docx", file=file)],
        )
        result = await run.result()
    assert result.values[0].content.startswith("# Handbook of the harbour office")
    assert all(len(chunk.content) <= 150 for chunk in result.values)


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_a_real_model_extracts_what_the_schema_demands() -> None:
    control = [{"classType": "llm", "from": "extract"}]
    extract = pipeline(
        node("files", "dropper"),
        node("parse", "parse", "documents", "files"),
        node("extract", "extract", "text", "parse", schema=SCHEMA),
        node("model", "llm_llamacpp", model="smollm2", max_tokens=64) | {"control": control},
        lanes={"extract": "data"},
    )
    async with Mesh() as mesh:
        result = await mesh.run(extract, inputs=[HANDBOOK]).result()
    (data,) = result.values
    assert isinstance(data["hours"], int)
