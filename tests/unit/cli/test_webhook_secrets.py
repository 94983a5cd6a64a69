"""The files with the secrets of webhooks and with the token of a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.input.tokens import read_token, read_webhook_secrets


def test_the_file_of_secrets_is_checked_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("# of deployments\n\nchat = a=b\nother=whsec_MDEy\n")
    assert read_webhook_secrets(file) == {"chat": "a=b", "other": "whsec_MDEy"}
    for text, where in (("chat", "line 1"), ("a=1\na=2", "line 2"), ("a=whsec_!", "base64")):
        file.write_text(text)
        with pytest.raises(CommandError, match=where):
            read_webhook_secrets(file)
    with pytest.raises(CommandError, match="cannot be read"):
        read_webhook_secrets(tmp_path / "none")


def test_byte_order_marks_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("chat=abc\r\nother=def\r\n", "utf-8-sig")
    assert read_webhook_secrets(file) == {"chat": "abc", "other": "def"}
    file.write_text("a-token\r\n", "utf-8-sig")
    assert read_token(file, "UNUSED") == "a-token"
