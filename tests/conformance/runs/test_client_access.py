"""No text of a client's document opens a file outside the roots of a node server, or reads the environment of a server.

Every node type of every installed service is tried: each text that its settings take, at any depth, is found from its schema.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from _pytest.mark import ParameterSet
from lanemesh import Client, LanemeshError, Node
from lanemesh.node.manifest import manifest_of
from lanemesh.pipeline_faults import Severity
from lanemesh.server.file_roots import MODULE, PATH_FORMATS, FileRoots, referenced
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import all_services, service_names
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline.config import resolve_config
from lanemesh_orchestrator.pipeline.document import parse
from pydantic import BaseModel

import heavy
from repeats import FULL
from rigs.audit import audited
from rigs.calling_nodes import MayCall
from rigs.runs import RIGS, until

CALLING = RIGS / "calling_nodes.py"

VARIABLE = "LANEMESH_TEST_SECRET"
SECRET = "value-of-the-server"
READS = f"${{{VARIABLE}}}"
RUN_SECONDS = 5
NUMBERS = itertools.count()
REFUSALS = ("not under the file roots", "names the module")
MAX_DEPTH = 20
OPENS = {"open", "os.listdir", "os.scandir", "os.exec", "os.posix_spawn", "os.system", "subprocess.Popen", "import"}
"""The events of the interpreter that show that a file is read, listed, imported or executed."""

Keys = tuple[str | int, ...]


def texts(rule: Any, schema: Mapping[str, Any], keys: Keys = (), depth: int = MAX_DEPTH) -> Iterator[tuple[Keys, str]]:
    """Where a config with this JSON schema takes a text, and the format of that text; 0 is the first item of a list."""
    if not isinstance(rule, Mapping) or not depth:
        return
    if "$ref" in rule:
        yield from texts(referenced(schema, rule["$ref"]), schema, keys, depth - 1)
    for key in ("anyOf", "oneOf", "allOf"):
        for part in rule.get(key, ()):
            yield from texts(part, schema, keys, depth - 1)
    if rule.get("type") == "string" and "enum" not in rule and "const" not in rule:
        yield keys, rule.get("format", "")
    for name, part in rule.get("properties", {}).items():
        yield from texts(part, schema, (*keys, name), depth - 1)
    if rule.get("type") == "object" and rule.get("additionalProperties", not rule.get("properties")) is not False:
        other = rule.get("additionalProperties")
        yield from texts(
            other if isinstance(other, Mapping) and other else {"type": "string"}, schema, (*keys, "k"), depth - 1
        )
    if rule.get("type") == "array":
        yield from texts(rule.get("items") or {"type": "string"}, schema, (*keys, 0), depth - 1)


def each_service(*waiting: str) -> list[ParameterSet]:
    """The services, with the marks of those that need the libraries of the catalogue, and of those whose test waits."""
    marks = dict.fromkeys(waiting, pytest.mark.waits) | dict.fromkeys(heavy.FAMILIES, pytest.mark.heavy)
    return [pytest.param(name, marks=[marks[name]] if name in marks else [], id=name) for name in service_names()]


@cache
def schema_of(config: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a config."""
    return config.model_json_schema()


def texts_of(node: type[Node]) -> dict[Keys, str]:
    """The texts of a node type's settings, with their formats."""
    schema = schema_of(node.Config)
    return dict(texts(schema, schema))


def all_texts(service: str) -> Iterator[tuple[type[Node], Keys, str]]:
    """The texts of all node types of a service: the node type, where its config takes the text, and the format."""
    for node in node_types(service):
        for keys, kind in texts_of(node).items():
            yield node, keys, kind


def holding(keys: Keys, text: str) -> Any:
    """A config with one text."""
    if not keys:
        return text
    inner = holding(keys[1:], text)
    return [inner] if keys[0] == 0 else {str(keys[0]): inner}


def pointer(keys: Keys) -> str:
    return "".join(f"/{key}" for key in keys)


@cache
def node_types(service: str) -> tuple[type[Node], ...]:
    (found,) = all_services([service])
    return tuple(found.nodes)


@cache
def all_types() -> tuple[type[Node], ...]:
    """The installed node types."""
    return tuple({node.provider: node for name in service_names() for node in node_types(name)}.values())


def documents(node: type[Node], config: Any) -> Iterator[dict[str, Any]]:
    """The pipelines in which a node type can be used: fed by a client, and as a helper."""
    if node.boundary == "source":
        yield {"components": [{"id": "x", "provider": node.provider, "config": config}, *helpers_of(node, "x")]}
    elif node.feeds_itself:
        yield {"components": [{"id": "x", "provider": node.provider, "config": config}]}
    elif node.inputs_:
        yield {"components": [*fed(node, "x", config), *helpers_of(node, "x")]}
    for kind in node.offers:
        yield {
            "components": [*fed(MayCall, "i"), helper("x", node.provider, kind, "i", config), *helpers_of(node, "x")]
        }


FED = frozenset({"chat", "file", "webhook"})
"""The sources that clients feed."""
SENT = frozenset({"text", "questions", "documents", "image", "audio", "video", "data"})
"""The lanes by which a client can feed a component."""


def fed(node: type[Node], name: str, config: Any = None) -> list[dict[str, Any]]:
    """A component whose inputs are fed by `c`: a chat, or for other lanes than its own a webhook; and that source."""
    known = {spec.lane_type.value: spec.required for spec in node.inputs_.values() if spec.lane_type}
    lanes = {lane for lane, required in known.items() if required}
    lanes = lanes or {next((lane for lane in known if lane in SENT), "text")}
    source = {"id": "c", "provider": "chat" if lanes <= {"text", "questions"} else "webhook"}
    inputs = [{"lane": lane, "from": "c"} for lane in sorted(lanes)]
    return [source, {"id": name, "provider": node.provider, "config": config or {}, "input": inputs}]


def helpers_of(node: type[Node], name: str) -> list[dict[str, Any]]:
    """The helpers without which a component does not run."""
    kinds = [item.class_type for item in node.invokes if item.min]
    return [helper(f"h_{kind}", simplest(kind), kind, name) for kind in kinds]


def simplest(kind: str) -> str:
    """A provider of helpers of a kind that works without settings; one that follows a script rather than others."""
    offering = [node for node in all_types() if kind in node.offers]
    alone = [node for node in offering if not any(item.min for item in node.invokes)]
    found = [node.provider for node in alone if not node.Config.model_json_schema().get("required")]
    assert found, f"no installed node type offers helpers of the kind {kind} without settings"
    return min(found, key=lambda provider: (not provider.endswith("_scripted"), provider))


def helper(name: str, provider: str, kind: str, invoker: str, config: Any = None) -> dict[str, Any]:
    control = [{"classType": kind, "from": invoker}]
    return {"id": name, "provider": provider, "config": config or {}, "control": control}


Given = tuple[dict[str, Any], dict[str, Any]]
"""A document of a client, and its settings."""


def required(node: type[Node]) -> dict[str, Any]:
    """The least config of a node type. A text is an address at which nothing listens, a path below the root and a name."""
    schema = schema_of(node.Config)
    values = {"string": "127.0.0.1:9", "integer": 1, "number": 1, "boolean": False, "array": [], "object": {}}
    return {key: values[schema["properties"][key].get("type", "string")] for key in schema.get("required", ())}


Place = Callable[[type[Node], Keys, str], Iterator[Given]]
"""A place in a request where a client writes a text of a config."""


def in_config(node: type[Node], keys: Keys, text: str) -> Iterator[Given]:
    """In the config, beside the other values."""
    for document in documents(node, {**required(node), **holding(keys, text)}):
        yield document, {}


def in_profile(node: type[Node], keys: Keys, text: str) -> Iterator[Given]:
    """In a profile of the config."""
    for document in documents(node, {"profile": "p", "p": {**required(node), **holding(keys, text)}}):
        yield document, {}


def in_settings(node: type[Node], keys: Keys, text: str) -> Iterator[Given]:
    """In a setting of the call."""
    name, value = str(keys[0]), holding(keys[1:], text)
    for document in documents(node, required(node)):
        yield document, {f"x.{name}": value}


def input_of(document: dict[str, Any]) -> str | None:
    """The input of a run; None for a component that feeds itself, with which a run accepts none."""
    return "x" if len(document["components"]) > 1 or document["components"][0]["provider"] in FED else None


async def run(client: Client, document: dict[str, Any], settings: dict[str, Any]) -> None:
    result = await client.run(document, input=input_of(document), settings=settings, timeout=RUN_SECONDS).result()
    result.raise_for_state()


async def start(client: Client, document: dict[str, Any], settings: dict[str, Any]) -> None:
    started = await client.start(document, input=input_of(document), settings=settings, timeout=RUN_SECONDS)
    (await started.result()).raise_for_state()


async def deploy(client: Client, document: dict[str, Any], settings: dict[str, Any]) -> None:
    name = f"d{next(NUMBERS)}"
    await client.deploy(name, document, settings=settings, timeout=RUN_SECONDS)
    await client.undeploy(name)


Call = Callable[[Client, dict[str, Any], dict[str, Any]], Awaitable[None]]
PLACES: Sequence[tuple[Place, Call]] = ((in_config, run), (in_profile, start), (in_settings, deploy))
"""The places, and the calls that take a document. How a request is read depends neither on the node type nor on the text, so most
texts are tried in the config of a run, and the first one of a service with all calls at all places."""


def attempts(node: type[Node], keys: Keys, wanted: Sequence[str], *, turn: int) -> Iterator[tuple[Call, Given]]:
    """The calls by which one text of a config is tried, with each of the `wanted` values: those of the `turn`-th text of a service.

    In the first turn, and with all repetitions, these are all calls at all places. Otherwise every value is tried in the config of
    a run.
    """
    every = not turn or FULL
    for number, (place, call) in enumerate(PLACES):
        if number and not every:
            break
        calls = [each for _, each in PLACES] if every else [call]
        for value in wanted:
            yield from itertools.product(calls, place(node, keys, value))


async def report(client: Client, call: Call, given: Given) -> str:
    """What a call reports about a document; an empty text if it is accepted and runs to its end."""
    try:
        await call(client, *given)
    except LanemeshError as error:
        return str(error)
    return ""


@pytest.mark.many
@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", each_service())
async def test_no_text_of_a_document_reads_the_environment(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # a setting is literal text, and may be the name of a new file
    monkeypatch.setenv(VARIABLE, SECRET)
    orchestrator = Orchestrator(embedded=True, nodes=[CALLING])
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            for number, (node, keys, _) in enumerate(all_texts(service)):
                for call, given in attempts(node, keys, [READS], turn=number):
                    await check_unread(client, node, keys, call, given, validates=not number)
    finally:
        await orchestrator.close()


async def check_unread(
    client: Client, node: type[Node], keys: Keys, call: Call, given: Given, *, validates: bool
) -> None:
    """Fails if a call that gets this document reads the variable, and the call that only validates it, if `validates`. A setting is
    literal text, so it alone may be accepted."""
    document, settings = given
    answer = await report(client, call, given)
    assert SECRET not in answer, (node.provider, keys)
    assert settings or VARIABLE in answer, (node.provider, keys, answer)
    for fault in await client.validate(document, settings=settings) if validates else ():
        assert SECRET not in f"{fault}", (node.provider, keys)
    if settings:
        (component,) = [one for one in parse(json.dumps(document)).components if one.entry.id == "x"]
        its = {path.removeprefix("x."): value for path, value in settings.items()}
        resolved = resolve_config(component, manifest_of(node), environment={VARIABLE: SECRET}, settings=its)
        assert READS in json.dumps(resolved.values)
        assert SECRET not in json.dumps(resolved.values)


class Watch:
    """What the interpreter reads, imports or executes of some files."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPENS and any(name in repr(arguments) for name in self.names):
            self.seen.append(f"{event}{arguments!r:.300}")


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python module outside the roots. It can be imported, and is executable."""
    folder = tmp_path / "outside"
    folder.mkdir()
    file = folder / "watched_outside.py"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    monkeypatch.syspath_prepend(str(folder))
    return file


@pytest.fixture
def watch(outside: Path) -> Iterator[Watch]:
    """What is read, imported or executed of the module outside."""
    made = Watch(str(outside), outside.stem)
    with audited(made):
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def confined(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of a mesh with one node server, which has one file root and all installed node types."""
    root = tmp_path_factory.mktemp("root")
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    services = all_services(service_names(), [CALLING])
    server = NodeServer(NodeHost(services, name="there", files=FileRoots.of([root])), orchestrator=orchestrator.address)
    await server.start()
    wanted = {MayCall.provider, *(node.provider for node in all_types() if not node.boundary)}
    try:
        await until(lambda: wanted <= set(orchestrator.registry.manifests()))
        async with Client(orchestrator.address) as client:
            yield client
    finally:
        await server.stop()
        await orchestrator.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.many
@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", each_service("tools"))  # which look for servers of tools
async def test_no_text_of_a_document_opens_a_file_outside_the_roots(
    service: str, confined: Client, outside: Path, watch: Watch
) -> None:
    for number, (node, keys, kind) in enumerate(all_texts(service)):
        wanted = (outside.stem,) if kind == MODULE else (str(outside), outside.as_uri())
        tried = attempts(node, keys, wanted, turn=number)
        reports = await asyncio.gather(*(report(confined, call, given) for call, given in tried))
        assert watch.seen == [], (node.provider, keys)
        if kind in PATH_FORMATS or kind == MODULE:
            wrong = [one for one in reports if not any(reason in one for reason in REFUSALS)]
            assert wrong == [], (node.provider, keys)


def test_the_watch_notices_what_is_opened(outside: Path, watch: Watch) -> None:
    outside.read_text()

    assert [event.partition("(")[0] for event in watch.seen] == ["open"]


async def test_every_node_type_is_tried_in_a_pipeline_that_is_wired() -> None:
    orchestrator = Orchestrator(embedded=True, nodes=[CALLING])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        for node in all_types():
            found = list(documents(node, {}))
            assert found, f"extend `documents` so that {node.provider} is used"
            for document in found:
                faults = await client.validate(document)
                wrong = [
                    fault
                    for fault in faults
                    if fault.severity is Severity.ERROR
                    and "/config" not in fault.pointer
                    and fault.reason != "missing-extra"
                ]
                assert wrong == [], f"extend `documents`: {node.provider} is not wired"
    await orchestrator.close()
