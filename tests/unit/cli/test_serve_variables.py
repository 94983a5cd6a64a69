"""The variables that `lanemesh serve` lets documents of clients use."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanemesh_orchestrator.cli.commands.servers import _variables
from lanemesh_orchestrator.cli.exits import CommandError


def test_variables_are_those_of_the_file_and_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "variables").write_text("# of the mesh\nREGION=north\nKEY=k = 1\n")
    monkeypatch.setenv("TOKEN", "t")
    monkeypatch.setenv("ZONE", "a")
    monkeypatch.setenv("REGION", "of the environment")
    found = _variables(["TOKEN"], ["REGION", "ZONE"], tmp_path / "variables")
    assert found == {"REGION": "north", "KEY": "k = 1", "TOKEN": "t", "ZONE": "a"}


@pytest.mark.parametrize(
    ("names", "plain", "option"), [(["ABSENT"], [], "--variable"), ([], ["ABSENT"], "--plain-variable")]
)
def test_a_variable_that_is_not_set_is_an_error(
    names: list[str], plain: list[str], option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(CommandError, match=f"{option} ABSENT: the environment variable ABSENT is not set"):
        _variables(names, plain, None)


def test_a_byte_order_mark_and_carriage_returns_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "variables").write_text("REGION=north\r\nKEY=k\r\n", "utf-8-sig")
    assert _variables([], [], tmp_path / "variables") == {"REGION": "north", "KEY": "k"}
