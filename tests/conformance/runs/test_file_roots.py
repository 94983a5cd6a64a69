"""Files that a document names lie under the roots of the node server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client, LanemeshError
from lanemesh.server.file_roots import MODULE, PATH_FORMATS, PATH_OR_NAME, FileRoots, schema_of
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import all_services, service_names
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_services.file.directory import Directory
from lanemesh_services.file.file_writer import FileWriter
from lanemesh_services.tools.files import ToolFiles
from lanemesh_services.tools.python import ToolPython
from pydantic import BaseModel

from rigs.runs import until

TOOL = '''
def shout(text: str) -> str:
    """Shouts."""
    return text.upper()
'''


def with_tools(file: str = "", module: str = "") -> dict[str, Any]:
    return {
        "components": [
            {"id": "c", "provider": "chat"},
            {"id": "a", "provider": "agent_wave", "input": [{"lane": "questions", "from": "c"}]},
            {
                "id": "l",
                "provider": "llm_scripted",
                "config": {"script": ["hello"]},
                "control": [{"classType": "llm", "from": "a"}],
            },
            {
                "id": "t",
                "provider": "tool_python",
                "config": {"file": file, "module": module},
                "control": [{"classType": "tool", "from": "a"}],
            },
            {
                "id": "r",
                "provider": "response",
                "config": {"lane": "answers"},
                "input": [{"lane": "answers", "from": "a"}],
            },
        ]
    }


def with_model(provider: str, model: str) -> dict[str, Any]:
    return {
        "components": [
            {"id": "c", "provider": "chat"},
            {
                "id": "l",
                "provider": provider,
                "config": {"model": model},
                "input": [{"lane": "questions", "from": "c"}],
            },
            {
                "id": "r",
                "provider": "response",
                "config": {"lane": "answers"},
                "input": [{"lane": "answers", "from": "l"}],
            },
        ]
    }


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    for folder in (root, outside):
        (folder / "tools.py").write_text(TOOL)
        (folder / "model.gguf").write_bytes(b"GGUF")
    (root / "link.py").symlink_to(outside / "tools.py")
    return root, outside


@pytest.mark.parametrize(
    ("config", "values"),
    [(FileWriter.Config, {"folder": ""}), (Directory.Config, {"path": ""}), (ToolFiles.Config, {"root": ""})],
)
def test_an_empty_path_is_the_working_directory(
    tmp_path: Path, config: type[BaseModel], values: dict[str, str]
) -> None:
    FileRoots.of([Path.cwd()]).check(values, schema_of(config), "n")
    with pytest.raises(LanemeshError, match="not under the file roots"):
        FileRoots.of([tmp_path]).check(values, schema_of(config), "n")


def test_an_empty_path_that_is_the_default_is_none(tmp_path: Path) -> None:
    FileRoots.of([tmp_path]).check({"file": ""}, schema_of(ToolPython.Config), "n")


async def test_a_client_names_only_files_under_the_roots(places: tuple[Path, Path]) -> None:
    root, outside = places
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    host = NodeHost(all_services(["agent", "llm", "tools"], []), name="there", files=FileRoots.of([root]))
    server = NodeServer(host, orchestrator=orchestrator.address)
    await server.start()
    try:
        await until(lambda: "tool_python" in orchestrator.registry.manifests())
        async with Client(orchestrator.address) as client:
            refused = [
                with_tools(str(outside / "tools.py")),
                with_tools(str(root / "link.py")),
                with_tools(str(root / ".." / "outside" / "tools.py")),
                with_model("llm_llamacpp", str(outside / "model.gguf")),
                with_model("llm_transformers", str(outside)),
            ]
            for document in refused:
                for call in (
                    client.run(document, input="x").text().all(),
                    client.deploy("d", document),
                ):
                    with pytest.raises(LanemeshError, match="not under the file roots") as caught:
                        await call
                    assert "--files" in str(caught.value)
            answer = await client.run(with_tools(str(root / "tools.py")), input="x").text()
            assert answer == "hello"
    finally:
        await server.stop()
        await orchestrator.close()


MARKS = """
from pathlib import Path
Path(__file__).with_suffix(".ran").touch()
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders of modules that can be imported, the first one a root."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for module in [module for module in sys.modules if module.startswith(("mine_", "other_"))]:
        monkeypatch.delitem(sys.modules, module)  # imported by another test from its own folders
    for folder, name in ((root, "mine"), (outside, "other")):
        package = folder / f"{name}_package"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(MARKS)
        (package / "below.py").write_text(MARKS + TOOL)
        (folder / f"{name}_tools.py").write_text(MARKS + TOOL)
        (folder / f"{name}_namespace").mkdir()
        (folder / f"{name}_namespace" / "below.py").write_text(TOOL)
        monkeypatch.syspath_prepend(str(folder))
    (root / "mine_package" / "link.py").symlink_to(outside / "other_tools.py")
    (root / "mine_namespace" / "link").symlink_to(outside / "other_package")
    return root, outside


@pytest.mark.parametrize("name", ["mine_tools", "mine_package", "mine_package.below", "mine_namespace.below"])
def test_a_module_under_a_root_is_allowed(modules: tuple[Path, Path], name: str) -> None:
    check_module(FileRoots.of([modules[0]]), name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "os",
            "sys",
            "builtins",
            "subprocess",
            "shutil",
            "pathlib",
            "__main__",
            "lanemesh",
            "lanemesh.server.node_server",
        ),
        *(
            "other_tools",
            "other_package.below",
            "other_namespace.below",
            "mine_package.link",
            "mine_namespace.link.below",
        ),
        *(
            "no_such_module",
            "mine_package.no_such",
            "mine_package.below.os",
            ".mine_tools",
            "mine_tools.",
            "a b",
            "mine/tools",
        ),
    ],
)
def test_any_other_module_is_refused_and_not_run(modules: tuple[Path, Path], name: str) -> None:
    with pytest.raises(LanemeshError, match=r"c: config.module names the module .* --module NAME"):
        check_module(FileRoots.of([modules[0]]), name)

    assert list(modules[1].rglob("*.ran")) == []


def test_an_installed_module_is_refused_though_its_environment_is_under_a_root() -> None:
    whole = FileRoots.of([Path("/")])
    with pytest.raises(LanemeshError, match="installed"):
        check_module(whole, "pytest")
    with pytest.raises(LanemeshError, match="installed"):
        check_module(whole, "json")
    check_module(FileRoots.of([Path(pytest.__file__).parent]), "pytest")


def test_the_operator_names_modules(modules: tuple[Path, Path]) -> None:
    named = FileRoots.of([modules[0]], ["other_package", "json"])
    for name in ("other_package", "other_package.below", "json", "json.decoder", "mine_tools"):
        check_module(named, name)
    for name in ("other_tools", "other_package_of_another_name", "jsonschema", "os"):
        with pytest.raises(LanemeshError, match="--module NAME"):
            check_module(named, name)
    check_module(FileRoots.of([], ["*"]), "os")


def check_module(roots: FileRoots, name: str) -> None:
    roots.check({"module": name}, {"properties": {"module": {"format": MODULE}}}, "c")


async def test_a_client_names_only_modules_that_are_allowed(modules: tuple[Path, Path]) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    host = NodeHost(all_services(["agent", "llm", "tools"], []), name="there", files=FileRoots.of([modules[0]]))
    server = NodeServer(host, orchestrator=orchestrator.address)
    await server.start()
    try:
        await until(lambda: "tool_python" in orchestrator.registry.manifests())
        async with Client(orchestrator.address) as client:
            with pytest.raises(LanemeshError, match="--module NAME") as caught:
                await client.run(with_tools(module="other_tools"), input="x").text().all()
            assert caught.value.fault.reason == "module-not-allowed"
            assert "other_tools" not in sys.modules
            assert await client.run(with_tools(module="mine_tools"), input="x").text() == "hello"
    finally:
        await server.stop()
        await orchestrator.close()


def formats(rule: Any) -> set[str]:
    if isinstance(rule, dict):
        found = {rule["format"]} if isinstance(rule.get("format"), str) else set()
        return found.union(*map(formats, rule.values())) if rule else found
    return set().union(*map(formats, rule)) if isinstance(rule, list) else set()


def test_every_setting_that_takes_a_path_has_its_format() -> None:
    found: dict[str, set[str]] = {}
    for service in all_services(service_names(), []):
        for node in service.nodes:
            for name, rule in node.Config.model_json_schema().get("properties", {}).items():
                if formats(rule) & (PATH_FORMATS | {PATH_OR_NAME}):
                    found.setdefault(node.provider, set()).add(name)
                elif MODULE in formats(rule):
                    assert name == "module", node.provider
                else:
                    assert name not in ("path", "file", "folder", "directory", "module"), (node.provider, name)
    assert found["tool_python"] == {"file"}
    assert found["llm_llamacpp"] == {"model", "projector"}
    assert found["llm_transformers"] == {"model"}


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-this-name/x", "/", "..", "x/../../y"])
def test_what_is_no_path_or_leads_outside_is_refused(tmp_path: Path, path: str) -> None:
    deep = {"anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/p"}}]}
    schema = {"properties": {"deep": deep}, "$defs": {"p": {"format": "path"}}}
    with pytest.raises(LanemeshError, match=r"c: config.deep\[0\] names"):
        FileRoots.of([tmp_path]).check({"deep": [path]}, schema, "c")
