"""A gateway whose event streams are checked, one by one, against the rules of their dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import pytest

from rigs.anthropic_rules import check_message_stream
from rigs.model_gateway import ModelGateway, Recorded, model_gateway
from rigs.openai_rules import check_chat_stream, check_response_stream


@pytest.fixture
async def gateway() -> AsyncIterator[ModelGateway]:
    """A gateway to a mesh of this process."""
    async with model_gateway() as made:
        yield made
    for stream in made.streams:
        check(stream)


def check(stream: Recorded) -> None:
    """Asserts the rules of the dialect of a stream."""
    body = bytes(stream.body)
    if stream.path == "/v1/chat/completions":
        check_chat_stream(body, whole=stream.is_whole)
    elif stream.path.startswith("/v1/responses"):
        query = parse_qs(stream.query)
        first = int(query["starting_after"][0]) + 1 if "starting_after" in query else 0
        check_response_stream(body, whole=stream.is_whole, first=first)
    elif stream.path == "/v1/messages":
        check_message_stream(body, whole=stream.is_whole)
    else:
        pytest.fail(f"no rules for the stream at {stream.path}")
