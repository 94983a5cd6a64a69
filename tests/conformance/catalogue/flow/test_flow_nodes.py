"""The flow nodes in pipelines: the outputs that a switch names, caches, and items that flow through several of them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Context, Document, HelperUpdate, In, Media, Node, Out, Service
from lanemesh_orchestrator import Mesh
from lanemesh_services.chat import SERVICE as CHAT
from lanemesh_services.flow import SERVICE as FLOW
from lanemesh_services.llm import SERVICE as LLM
from lanemesh_services.response import SERVICE as RESPONSE

from rigs import asking_nodes
from rigs.runs import Component, Pipeline, pipeline

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    """A mesh in this process."""
    async with Mesh() as mesh:
        own = Service("own", [asking_nodes.shouting, asking_nodes.breaking])
        mesh.orchestrator.host.node_types.replace([CHAT, FLOW, LLM, RESPONSE, own])
        yield mesh


def taking(name: str, provider: str, lane: str, origin: str, output: str = "", **config: Any) -> Component:
    """A component with one input."""
    entry = {"lane": lane, "from": origin, **({"output": output} if output else {})}
    return {"id": name, "provider": provider, "config": config, "input": [entry]}


def through(lane: str, *nodes: Component, out: str = "") -> Pipeline:
    """A chat, these, and a response after the last."""
    return pipeline({"id": "chat", "provider": "chat"}, *nodes, taking("out", "response", out or lane, nodes[-1]["id"]))


async def test_a_switch_sends_each_question_to_the_consumer_of_its_case(mesh: Mesh) -> None:
    cases = {"sums": "text.matches('^[0-9+ ]+$')", "unused": "text == 'drop'"}
    document = pipeline(
        {"id": "chat", "provider": "chat"},
        taking("switch", "switch", "questions", "chat", cases=cases),
        taking("calculator", "llm_scripted", "questions", "switch", "sums", script=["4"]),
        taking("talker", "llm_scripted", "questions", "switch", "otherwise", script=["hello"]),
        {
            "id": "out",
            "provider": "response",
            "input": [{"lane": "answers", "from": "calculator"}, {"lane": "answers", "from": "talker"}],
        },
    )
    assert await mesh.validate(document) == []
    assert (await mesh.run(document, input="2 + 2").result()).text == "4"
    assert (await mesh.run(document, input="hi").result()).text == "hello"
    dropped = await mesh.run(document, input="drop").result()
    assert (dropped.state, dropped.values) == ("completed", ())


async def test_items_flow_through_filter_dedupe_sort_throttle_map_batch_and_unbatch(mesh: Mesh) -> None:
    document = through(
        "text",
        taking("filter", "filter", "text", "chat", when="size(text) < 4"),
        taking("dedupe", "dedupe", "text", "filter"),
        taking("sort", "sort_window", "text", "dedupe", by="text"),
        taking("throttle", "throttle", "text", "sort", items=1_000),
        taking("map", "map", "text", "throttle", to="{'word': text}"),
        taking("batch", "batch", "data", "map", max=2),
        taking("unbatch", "unbatch", "data", "batch"),
    )
    assert await mesh.validate(document) == []
    result = await mesh.run(document, inputs=["c", "long word", "a", "c", "b"]).result()
    result.raise_for_state()
    assert result.values == ('{"word": "a"}', '{"word": "b"}', '{"word": "c"}')


async def test_a_function_of_a_file(mesh: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("def double(text):\n    return 2 * text\n")
    document = through("text", taking("double", "python", "text", "chat", file=str(path)))
    assert (await mesh.run(document, input="ab").result()).text == "abab"


async def test_a_request_for_each_item(mesh: Mesh) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if self.path.endswith(".pdf"):
                self.send_header("content-type", "application/pdf")
            self.end_headers()
            self.wfile.write(f"got {self.path}".encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/{{text}}"
        get = taking("get", "http_request", "text", "chat", hosts=["127.0.0.1"], private=True, url=url)
        assert (await mesh.run(through("text", get), input="a b").result()).text == "got /a%20b"
        (file,) = (await mesh.run(through("documents", get), input="x.pdf").result()).values
        assert (file.content, file.file) == ("", Media("application/pdf", b"got /x.pdf"))
        error = (await mesh.run(through("text", get), input="x.pdf").result()).error
        assert error is not None
        assert "the response is application/pdf, which is no text; connect `documents`" in error.message
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("name", "asked"), [("", 2), ("the model", 1)])
async def test_a_cache_before_a_model_asks_it_once(mesh: Mesh, name: str, asked: int) -> None:
    document = through(
        "text",
        taking("switch", "switch", "text", "chat", by="model", cases={"a": "first", "b": "second"}),
        {
            "id": "cache",
            "provider": "cache",
            "config": {"name": name},
            "control": [{"classType": "llm", "from": "switch"}],
        },
        {
            "id": "model",
            "provider": "llm_scripted",
            "config": {"script": ["b"]},
            "control": [{"classType": "llm", "from": "cache"}],
        },
    )
    document["components"][-1]["input"] = [{"lane": "text", "from": "switch", "output": "b"}]
    total = 0
    for _ in range(2):
        async with mesh.run(document, inputs=["x", "x"]) as run:
            calls = 0
            async for update in run.updates():
                if isinstance(update, HelperUpdate) and update.component == "model":
                    calls = max(calls, update.calls)
            assert run.state == "completed"
            total += calls
    assert total == asked


async def test_a_cache_around_a_pipeline_runs_it_once_for_equal_items(mesh: Mesh) -> None:
    inner = pipeline(
        {"id": "chat", "provider": "chat"},
        taking("work", "shouting", "text", "chat"),
        taking("result", "response", "text", "work"),
    )
    document = through("text", taking("cache", "cache", "text", "chat", document=inner))
    result = await mesh.run(document, inputs=["a", "b", "a"]).result()
    result.raise_for_state()
    assert result.values == ("A", "! ", "B", "! ", "A", "! ")
    assert len(await mesh.runs()) == 3  # this one, and one for each of the two items
    for session in ("a", "b", "b"):
        assert (await mesh.run(document, input="a", session=session).result()).values == ("A", f"! {session}")
    inner["components"][1]["provider"] = "breaking"
    for _ in range(2):  # a failure is not kept
        failed = await mesh.run(document, input="a").result()
        assert failed.error is not None
        assert "in its component work: ValueError: no a" in failed.error.message


class Filing(Node):
    """Makes a document whose file has a million bytes."""

    text: In[str]
    documents: Out[Document]

    def process(self, context: Context) -> dict[str, Document]:
        """The document."""
        return {"documents": Document("", file=Media("application/pdf", bytes(1_000_000)))}


@pytest.mark.parametrize(("megabytes", "runs"), [(2, 3), (64, 2)])
async def test_a_cache_counts_the_files_of_documents(mesh: Mesh, megabytes: int, runs: int) -> None:
    mesh.orchestrator.host.node_types.replace([CHAT, FLOW, RESPONSE, Service("own", [Filing])])
    inner = pipeline(
        {"id": "chat", "provider": "chat"},
        taking("work", "filing", "text", "chat"),
        taking("result", "response", "documents", "work"),
    )
    document = through(
        "text", taking("cache", "cache", "text", "chat", document=inner, megabytes=megabytes), out="documents"
    )
    result = await mesh.run(document, inputs=["a", "a"]).result()
    result.raise_for_state()
    assert len(result.values) == 2
    assert len(await mesh.runs()) == runs  # this one, and one for each item that is not kept


async def test_a_cache_keeps_results_apart_for_each_version_of_what_it_runs(mesh: Mesh, tmp_path: Path) -> None:
    def saying(text: str) -> Pipeline:
        return pipeline(
            {"id": "chat", "provider": "chat"},
            taking("work", "llm_scripted", "questions", "chat", script=[text]),
            taking("result", "response", "answers", "work"),
        )

    calling = pipeline(
        {"id": "chat", "provider": "chat"},
        taking("work", "@inner", "questions", "chat"),
        taking("result", "response", "answers", "work"),
    )
    file = tmp_path / "inner.pipe"
    await mesh.deploy("inner", saying("first"))
    await mesh.deploy("outer", calling)
    targets: list[dict[str, Any]] = [
        {"pipeline": "@inner"},
        {"pipeline": "@outer"},
        {"document": calling},
        {"file": str(file)},
    ]
    found = []
    for text in ("first", "second"):
        if text != "first":
            await mesh.deploy("inner", saying(text))
        file.write_text(json.dumps(saying(text)))
        os.utime(file, (1, 1))
        for target in targets:
            document = through("answers", taking("cache", "cache", "text", "chat", **target))
            found.append([(await mesh.run(document, input="x").result()).text for _ in range(2)])

    assert found == [["first"] * 2] * 4 + [["second"] * 2] * 4


@pytest.mark.parametrize(
    "outer", [{"provider": "sub_pipeline"}, {"provider": "sub_pipeline", "each": True}, {"provider": "cache"}]
)
async def test_what_models_of_an_inner_run_use_is_reported_for_the_node(mesh: Mesh, outer: dict[str, Any]) -> None:
    inner = pipeline(
        {"id": "chat", "provider": "chat"},
        taking("switch", "switch", "text", "chat", by="model", cases={"a": "first", "b": "second"}),
        {
            "id": "model",
            "provider": "llm_scripted",
            "config": {"script": ["b"]},
            "control": [{"classType": "llm", "from": "switch"}],
        },
        taking("result", "response", "text", "switch", output="b"),
    )
    document = through("text", taking("inner", outer.pop("provider"), "text", "chat", document=inner, **outer))
    latest = None
    async with mesh.run(document, inputs=["x", "y", "z"]) as run:
        async for update in run.updates():
            if isinstance(update, HelperUpdate) and update.component == "inner":
                latest = update
        assert run.state == "completed"

    assert latest is not None
    assert latest.calls == 3
    assert latest.usage is not None
    assert latest.usage.completion_tokens == 3


class Pair(Node):
    """Joins two texts."""

    sync_mode = "join"
    left: In[str]
    right: In[str]
    both: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        """One pair."""
        return {"both": f"{self.left}-{self.right} "}


async def test_what_an_inner_run_of_each_item_returns_descends_from_it(mesh: Mesh) -> None:
    mesh.orchestrator.host.node_types.replace([CHAT, FLOW, RESPONSE, Service("own", [Pair])])
    inner = pipeline(
        {"id": "chat", "provider": "chat"},
        taking("even", "filter", "text", "chat", when="int(text) % 2 == 0"),
        taking("result", "response", "text", "even", output="kept"),
    )
    document = pipeline(
        {"id": "chat", "provider": "chat"},
        taking("inner", "sub_pipeline", "text", "chat", document=inner, each=True),
        {
            "id": "pair",
            "provider": "pair",
            "input": [
                {"lane": "text", "from": "inner", "input": "left"},
                {"lane": "text", "from": "chat", "input": "right"},
            ],
        },
        taking("out", "response", "text", "pair"),
    )
    result = await mesh.run(document, inputs=["1", "2", "3", "4", "6"]).result()
    result.raise_for_state()
    assert result.values == ("2-2 ", "4-4 ", "6-6 ")
