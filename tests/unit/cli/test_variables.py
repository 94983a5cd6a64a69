"""The environment variables of server options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from lanemesh._grpc.security import VARIABLES as SECURITY
from lanemesh_orchestrator.cli.app import command
from lanemesh_orchestrator.cli.variables import SERVERS, server_options

from variables_table import PAGE, page

ROOT = PAGE.parents[1]
UNITS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "deploy" / "systemd").glob("*.service"))


def parsed(*path: str, arguments: list[str] | None = None) -> dict[str, Any]:
    """The parameters of a command of `lanemesh`, read from arguments and the environment."""
    made = command()
    for name in path:
        made = made.commands[name]
    params: dict[str, Any] = made.make_context(path[-1], arguments or []).params
    return params


def test_every_option_of_a_server_has_a_variable_of_its_own() -> None:
    variables = [variable for _, _, variable in server_options(command())]
    assert len(variables) == len(set(variables))
    for path in SERVERS:
        made = command()
        for name in path:
            made = made.commands[name]
        for parameter in made.params:
            if parameter.name != "help" and not getattr(parameter, "hidden", False):
                assert any(parameter is known for _, known, _ in server_options(command())), parameter.name


def test_every_variable_is_on_the_page_of_the_command_line() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make variables` and commit the result"


def test_variables_are_read_as_options_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_NODE_SERVICE", "text prompt")
    monkeypatch.setenv("LANEMESH_NODE_INSECURE", "true")
    monkeypatch.setenv("LANEMESH_NODE_PORT", "7071")
    monkeypatch.setenv("LANEMESH_NODE_LABEL", "zone=a gpu=yes")
    monkeypatch.setenv("LANEMESH_NODE_FILES", "/srv/a b:/srv/c")
    monkeypatch.setenv("LANEMESH_NODE_NAME", "")
    node = parsed("node")
    assert node["services"] == ["text", "prompt"]
    assert node["insecure"] is True
    assert node["port"] == 7071
    assert node["labels"] == ["zone=a", "gpu=yes"]
    assert node["files"] == [Path("/srv/a b"), Path("/srv/c")]
    assert node["name"] == ""
    assert parsed("node", arguments=["--port", "7072", "--label", "zone=b"])["port"] == 7072


def test_the_variables_of_one_server_leave_another_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_GPU_SERVE_PORT", "7075")
    assert parsed("gpu", "serve")["port"] == 7075
    assert parsed("serve")["port"] == 7070


def test_the_variable_of_the_option_precedes_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_STORE", "general")
    assert parsed("serve")["store"] == "general"
    monkeypatch.setenv("LANEMESH_SERVE_STORE", "of serve")
    assert parsed("serve")["store"] == "of serve"


@pytest.mark.parametrize("name", ["compose.yaml", "docs/deploy.md", *UNITS])
def test_what_is_deployed_names_variables_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    of_compose = set(re.findall(r"\$\{(LANEMESH_\w+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
    known = {variable for _, _, variable in server_options(command())} | {*SECURITY, *of_compose}
    assert set(re.findall(r"LANEMESH_[A-Z_]+[A-Z]", text)) <= known


@pytest.mark.parametrize("name", UNITS)
def test_units_start_commands_that_exist(name: str) -> None:
    (line,) = re.findall(r"^ExecStart=/opt/lanemesh/bin/lanemesh (.+)$", (ROOT / name).read_text(), re.MULTILINE)
    path = [word for word in line.split() if not word.startswith(("-", "%"))]
    assert tuple(path) in SERVERS
