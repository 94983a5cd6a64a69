"""Which mesh a command uses: `--mesh`, the variable LANEMESH_MESH, or its own."""

import pytest
from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.options import DEFAULT_MESH, Spread, host_options, mesh_address


def test_the_variable_is_the_default_of_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_MESH", "127.0.0.1:1")
    assert host_options(None, None, None).mesh == "127.0.0.1:1"
    assert host_options(None, None, None, "@chat").mesh == "127.0.0.1:1"
    assert host_options(None, "127.0.0.1:2", None).mesh == "127.0.0.1:2"
    assert host_options(None, "none", None).mesh is None
    assert host_options(Spread.SERVICE, None, None).mesh is None
    assert mesh_address(None) == "127.0.0.1:1"


def test_without_it_a_command_that_needs_a_mesh_uses_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANEMESH_MESH", raising=False)
    assert host_options(None, None, None).mesh is None
    assert host_options(None, None, None, "@chat").mesh == DEFAULT_MESH
    assert mesh_address(None) == DEFAULT_MESH
    with pytest.raises(CommandError, match="needs an orchestrator"):
        mesh_address("none")
