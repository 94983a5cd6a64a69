"""The interface of all language models, and the settings of a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol, Self

from lanemesh import ChatEvent, ChatRequest

from lanemesh_services.llm.errors import refused
from lanemesh_services.llm.schemas import AnswerSchema

MAX_STOPS = 16
"""Maximum number of stop texts in one request."""

DEFAULT_MAX_TOKENS = 512
"""Maximum number of generated tokens if neither the request nor the node's config sets it."""


class Engine(Protocol):
    """A loaded language model. One engine serves all runs of its node server concurrently."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn: text in pieces, complete tool calls, then usage and finish.

        Closing the iterator, or cancelling the task that reads it, ends the generation in the engine at its next token.

        Raises:
            GenerationRefused: the request is not supported; the error names the field.
            GenerationFailed: the engine failed.
        """
        ...

    @property
    def active(self) -> int:
        """How many generations are running or waiting."""
        ...

    async def close(self) -> None:
        """Ends every generation and frees the memory. The engine cannot be used afterwards."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The validated and complete sampling settings of one request."""

    temperature: float = 0.7
    """From 0 to 2. 0 always selects the most probable token."""
    top_p: float = 0.95
    """Sampling is restricted to the most probable tokens with this total probability; greater than 0, at most 1."""
    top_k: int = 40
    """Sample only from this number of most probable tokens; 0: all."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Maximum number of tokens to generate; at least 1."""
    stop: tuple[str, ...] = ()
    """Texts that end the generation and are not part of it."""
    seed: int | None = None
    """Seed of the random generator; None: a new one for each request."""

    @classmethod
    def of(cls, request: ChatRequest) -> Self:
        """The settings of a request, with defaults for absent ones. Raises `GenerationRefused` outside the bounds."""
        given = request.sampling
        named = {
            name: value
            for name in ("temperature", "top_p", "top_k", "max_tokens", "seed")
            if (value := getattr(given, name)) is not None
        }
        settings = cls(**named, stop=tuple(given.stop))
        if not 0 <= settings.temperature <= 2:
            raise refused("sampling.temperature", f"must be from 0 to 2, not {settings.temperature:g}")
        if not 0 < settings.top_p <= 1:
            raise refused("sampling.top_p", f"must be greater than 0 and at most 1, not {settings.top_p:g}")
        if settings.max_tokens < 1:
            raise refused("sampling.max_tokens", "must be at least 1")
        if len(settings.stop) > MAX_STOPS:
            raise refused("sampling.stop", f"has {len(settings.stop)} texts; at most {MAX_STOPS} are allowed")
        if not all(settings.stop):
            raise refused("sampling.stop", "contains an empty text, which would end every answer at once")
        return settings


def check_request(request: ChatRequest) -> AnswerSchema | None:
    """Rejects requests that no engine supports; returns the schema of the answer, if there is one.

    Raises:
        GenerationRefused: the conversation is empty, a turn has a role that no model knows, or the schema is not supported.
    """
    if not request.messages:
        raise refused("messages", "is empty; a model needs at least one message to answer")
    for index, message in enumerate(request.messages):
        if message.role not in ("system", "user", "assistant", "tool"):
            raise refused(f"messages[{index}].role", f'must be system, user, assistant or tool, not "{message.role}"')
    return None if request.schema is None else AnswerSchema.of(request.schema)
