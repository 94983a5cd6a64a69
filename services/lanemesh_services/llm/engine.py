"""The one interface that every language model has here, and the settings that a request comes with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol, Self

from lanemesh import ChatEvent, ChatRequest

from lanemesh_services.llm.errors import refused
from lanemesh_services.llm.schemas import AnswerSchema

MAX_STOPS = 16
"""Most stop texts in one request."""

DEFAULT_MAX_TOKENS = 512
"""Most tokens written where neither the request nor the node's config says."""


class Engine(Protocol):
    """A language model that is ready to generate. One engine serves all runs of its node server at once."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn: text as it is made, tool calls whole, then usage and finish.

        Closing the iterator, or cancelling the task that reads it, ends the generation in the engine at its next token.

        Raises:
            GenerationRefused: the request asks for what cannot be done; it says which field.
            GenerationFailed: the engine broke down.
        """
        ...

    @property
    def active(self) -> int:
        """How many generations are running or waiting."""
        ...

    async def close(self) -> None:
        """Ends every generation and gives the memory back. The engine is of no use afterwards."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How one request chooses its tokens, checked and complete."""

    temperature: float = 0.7
    """0: always the likeliest token; up to 2."""
    top_p: float = 0.95
    """Only the likeliest tokens with this much probability together; greater than 0, at most 1."""
    top_k: int = 40
    """Only this many of the likeliest tokens; 0: all."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Most tokens to write; at least 1."""
    stop: tuple[str, ...] = ()
    """Texts that end the generation and are not part of it."""
    seed: int | None = None
    """Seed of the random choice; None: a new one for each request."""

    @classmethod
    def of(cls, request: ChatRequest) -> Self:
        """The settings of a request, with defaults where it says nothing. Raises `GenerationRefused` outside the bounds."""
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
            raise refused("sampling.stop", "holds an empty text, which would end every answer at once")
        return settings


def check_request(request: ChatRequest) -> AnswerSchema | None:
    """Checks what no engine can follow; returns the schema of the answer, if there is one.

    Raises:
        GenerationRefused: the conversation is empty, a turn has a role that no model knows, or the schema is of no use.
    """
    if not request.messages:
        raise refused("messages", "is empty; a model needs at least one message to answer")
    for index, message in enumerate(request.messages):
        if message.role not in ("system", "user", "assistant", "tool"):
            raise refused(f"messages[{index}].role", f'must be system, user, assistant or tool, not "{message.role}"')
    return None if request.schema is None else AnswerSchema.of(request.schema)
