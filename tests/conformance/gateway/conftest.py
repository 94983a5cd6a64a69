"""A gateway whose event streams are checked, one by one, against the rules of their dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rigs.model_gateway import ModelGateway, model_gateway
from rigs.openai_rules import check_chat_stream

CHECKS = {"/v1/chat/completions": check_chat_stream}


@pytest.fixture
async def gateway() -> AsyncIterator[ModelGateway]:
    """A gateway to a mesh of this process."""
    async with model_gateway() as made:
        yield made
    for stream in made.streams:
        if check := CHECKS.get(stream.path):
            check(bytes(stream.body), whole=stream.is_whole)
