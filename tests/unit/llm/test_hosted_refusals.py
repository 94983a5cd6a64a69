"""What a model behind HTTP rejects, by the message of its server."""

from __future__ import annotations

import pytest
from lanemesh import Code
from lanemesh_services.shared.hosted_errors import Server, status_failure

SERVER = Server("OpenAI", "http://tools.example/v1", "tools-model")


@pytest.mark.parametrize(
    ("status", "message", "field"),
    [
        (400, "registry.ollama.ai/library/gemma:latest does not support tools", "tools"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "tools"),
        (400, "`tool calling` is not supported with this model", "tools"),
        (400, "Function calling is not enabled for models/gemma-3-1b-it", "tools"),
        (404, "No endpoints found that support tool use", "tools"),
        (422, "body.tools: extra fields not permitted", "tools"),
        (400, "Invalid schema for response_format 'answer': in context=('properties', 'tool')", "json_schema"),
        (400, "This model does not support structured outputs", "json_schema"),
        (400, "messages.1: tool_use ids were found without tool_result blocks", ""),
        (400, "you requested 9000 tokens (8000 in the messages, 1000 in the functions)", ""),
        (400, "tools-model does not support images", ""),
        (400, "", ""),
    ],
)
def test_a_rejected_field_is_named(status: int, message: str, field: str) -> None:
    fault = status_failure(SERVER, status, message).fault
    assert (fault.reason, fault.code) == ("generation-refused", Code.INVALID_ARGUMENT)
    assert fault.details.get("field", "") == field


@pytest.mark.parametrize("message", ["the model tools-model does not exist", "Not Found", ""])
def test_a_model_that_is_not_served_rejects_nothing(message: str) -> None:
    fault = status_failure(SERVER, 404, message).fault
    assert (fault.reason, fault.details.get("field")) == ("model-not-served", None)


def test_another_error_rejects_nothing() -> None:
    assert "field" not in status_failure(SERVER, 500, "the tools service is down").fault.details
