"""The token that calls carry: that of the process, of its file as it is now, or of the caller for whom a call is passed on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lanemesh._grpc.bearer import BearerToken, token_of_caller
from lanemesh._grpc.security import OPEN, Security
from lanemesh.faults import LanemeshError
from lanemesh.redaction import hidden_in_log


def sent(token: BearerToken) -> str:
    """What calls carry."""
    return dict(token.metadata()).get("authorization", "")


def test_without_a_token_calls_carry_nothing() -> None:
    assert BearerToken(OPEN).metadata() == ()


def test_the_token_of_a_file_is_that_of_its_last_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    token = BearerToken(Security(token_file=file))
    assert sent(token) == "Bearer first-token"
    for number, content in enumerate(("second-token", "", "two words")):
        file.write_text(content)
        os.utime(file, ns=(number, number))
        assert sent(token) == sent(token) == "Bearer second-token"
    file.unlink()
    assert sent(token) == "Bearer second-token"
    assert caplog.text.count("the token before remains in use") == 3


def test_a_byte_order_mark_is_no_part_of_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token\r\n", "utf-8-sig")
    assert sent(BearerToken(Security(token_file=tmp_path / "token"))) == "Bearer a-token"


@pytest.mark.parametrize("content", [None, "", "  \n", "x" * 20_000, "two words"])
def test_a_file_without_a_token_is_refused_at_first(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(LanemeshError) as caught:
        BearerToken(Security(token_file=file))
    assert caught.value.fault.reason == "bad-security"


def test_the_token_of_a_caller_is_only_passed_on_where_that_is_wanted() -> None:
    own, forwarding = Security(token="own-token"), Security(token="own-token", forwards_tokens=True)
    with token_of_caller("of-a-caller"):
        assert sent(BearerToken(own)) == "Bearer own-token"
        assert sent(BearerToken(forwarding)) == "Bearer of-a-caller"
        with token_of_caller(""):
            assert sent(BearerToken(forwarding)) == ""
    assert sent(BearerToken(forwarding)) == "Bearer own-token"


def test_a_token_does_not_show_and_is_hidden_in_logs() -> None:
    token = BearerToken(Security(token="a-token-to-hide"))
    assert "a-token" not in f"{token!r}{token}"
    assert hidden_in_log("sent a-token-to-hide to it") == "sent *** to it"
