"""What models behind HTTP have in common: retries, time limits, prices, and the errors of a broken answer."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, LanemeshError, ToolCall, ToolSpec, Usage

from lanemesh_services.llm.engine import Sampling, check_request
from lanemesh_services.llm.errors import closed, not_followed
from lanemesh_services.llm.schemas import AnswerSchema
from lanemesh_services.llm.text import StopScanner
from lanemesh_services.shared.hosted_errors import Server, ServerFailed, broken, silent

FIRST_PAUSE = 0.5
"""Seconds before the first retry; each further one doubles them, up to 8."""
MOST_PAUSE = 8.0
BUDGET = 10.0
"""How many retries over all requests are possible at once; each request that succeeds adds a tenth of one."""
LAST_SECONDS = 5.0
"""How long to wait for the usage after the finish reason of an answer."""
END_SECONDS = 0.25
"""How long to wait for the end of a response that is complete, so that its connection can be used again."""

_TOOL_NAME = re.compile(r"[^A-Za-z0-9_-]")
MAX_TOOL_NAME = 64
"""Most characters of a tool's name that all servers accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in US dollars for a million tokens."""

    input: float
    """Tokens read."""
    output: float
    """Tokens written."""
    cached_input: float | None = None
    """Tokens read from the server's cache; None: as other tokens read."""

    def of(self, spent: Spent) -> float:
        """The price of a turn in US dollars."""
        cached = min(spent.cached, spent.prompt)
        of_cached = self.input if self.cached_input is None else self.cached_input
        return ((spent.prompt - cached) * self.input + cached * of_cached + spent.completion * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Spent:
    """The tokens of a turn, as a server reports them."""

    prompt: int
    """Tokens read, cached ones included."""
    completion: int
    """Tokens written."""
    cached: int = 0
    """Tokens read from the server's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedOptions:
    """A model behind HTTP, and how it is called."""

    model: str
    """Its name at the server."""
    base_url: str
    """Where the server is."""
    api_key: str = ""
    """The key; empty: none is sent."""
    timeout: float = 120.0
    """Most seconds without a part of the answer."""
    retries: int = 2
    """Most retries of a request, all before the first part of its answer."""
    retry_seconds: float = 30.0
    """Most seconds of all pauses before the retries of a request."""
    concurrency: int = 64
    """Most requests at once; further ones wait."""
    price: Price | None = None
    """What it costs; None: unknown."""
    extra: Mapping[str, Any] | None = None
    """Further fields of each request."""


@dataclass(frozen=True, slots=True)
class Alive:
    """The server has sent a part of its answer, such as reasoning or some of a call's arguments."""


ALIVE: Final = Alive()
Piece = ChatText | ToolCall | Spent | ChatFinish | Alive
"""What a dialect makes of a server's answer."""


class HostedEngine:
    """A model behind HTTP. A subclass speaks the dialect of its server.

    A request that fails before the first part of its answer is repeated, within three limits: the number of retries of a request,
    the seconds of its pauses, and a budget that all requests share.
    """

    name = ""
    """What the server speaks, for errors."""

    def __init__(self, options: HostedOptions) -> None:
        self.options = options
        self.server = Server(self.name, options.base_url, options.model, options.api_key)
        self._places = asyncio.Semaphore(options.concurrency)
        self._budget = BUDGET
        self._active = 0
        self._closed = False

    def attempt(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[Piece, None]:
        """Sends the request once: text as it arrives, complete tool calls, usage, and the finish. `ALIVE` for each event of the
        server, except those that only keep the connection alive. Closing it closes the response."""
        raise NotImplementedError

    def failure(self, error: Exception) -> LanemeshError | None:
        """The meaning of an error of the client library; None if it is none of its errors."""
        raise NotImplementedError

    async def disconnect(self) -> None:
        """Closes the connections."""
        raise NotImplementedError

    def scanned_stops(self, request: ChatRequest) -> tuple[str, ...]:
        """The stop texts of a request that the server does not look for."""
        return ()

    @property
    def active(self) -> int:
        """How many generations are running or waiting."""
        return self._active

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn; see `Engine.chat`. Leaving it closes the HTTP response.

        Raises:
            GenerationRefused: the request is not supported, by the API or by the server.
            ServerFailed: the server cannot be reached, does not answer, or answers with an error or with a broken answer.
        """
        schema = check_request(request)
        Sampling.of(request)  # the bounds
        self._active += 1
        try:
            async with self._places, aclosing(self._attempts(request, schema)) as events:
                async for event in events:
                    yield event
        finally:
            self._active -= 1

    async def close(self) -> None:
        """Ends every generation: the connections are closed."""
        self._closed = True
        await self.disconnect()

    async def _attempts(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[ChatEvent, None]:
        waited, tries, started = 0.0, 0, False
        while True:
            if self._closed:
                raise closed()
            try:
                async with aclosing(self._turn(request, schema)) as events:
                    async for event in events:
                        started = True
                        yield event
                self._budget = min(BUDGET, self._budget + 0.1)
                return
            except ServerFailed as failure:
                pause = None if started else self._pause(failure, tries, waited)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
            tries, waited = tries + 1, waited + pause

    def _pause(self, failure: ServerFailed, tries: int, waited: float) -> float | None:
        """Seconds before the next attempt; None if there is none."""
        if not failure.transient or self._closed or tries >= self.options.retries or self._budget < 1:
            return None
        pause = failure.retry_after
        if pause is None:
            pause = min(MOST_PAUSE, FIRST_PAUSE * 2**tries) * random.uniform(0.75, 1.0)
        if waited + pause > self.options.retry_seconds:
            return None
        self._budget -= 1
        return pause

    async def _turn(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[ChatEvent, None]:
        """One attempt, with its errors, its limits, its stop texts and its schema."""
        stops = StopScanner(self.scanned_stops(request))
        texts: list[str] = []
        finish: ChatFinish | None = None
        spent: Spent | None = None
        called = False
        async with aclosing(self.attempt(request, schema)) as pieces:
            while not stops.stopped:
                ending = None if finish is None else LAST_SECONDS if spent is None else END_SECONDS
                match piece := await self._next(pieces, ending):
                    case ChatText() if text := stops.push(piece.text):
                        texts.append(text)
                        yield ChatText(text)
                    case ToolCall():
                        called = True
                        yield piece
                    case Spent():
                        spent = piece
                    case ChatFinish():
                        finish = piece
                    case None:
                        break
        if finish is None and not stops.stopped:
            raise broken(self.server, "it ended before its finish reason")
        if text := stops.finish():
            texts.append(text)
            yield ChatText(text)
        reason = "tool_calls" if called else finish.reason if finish else "stop"
        if schema is not None and reason == "stop" and (problem := schema.problem("".join(texts))):
            raise not_followed(problem)
        if spent is not None:
            price = self.options.price
            yield Usage(spent.prompt, spent.completion, None if price is None else price.of(spent))
        yield ChatFinish(reason)

    async def _next(self, pieces: AsyncGenerator[Piece, None], ending: float | None) -> Piece | None:
        """The next piece with content; None at the end. Each error is that of this engine. `ending`: the turn is complete, and
        further pieces are awaited for so many seconds only."""
        try:
            async with asyncio.timeout(self.options.timeout if ending is None else ending) as limit:
                while (piece := await anext(pieces, None)) is ALIVE:
                    if ending is None:
                        limit.reschedule(asyncio.get_running_loop().time() + self.options.timeout)
                return piece
        except TimeoutError:
            if ending is not None:
                return None
            raise silent(self.server, self.options.timeout) from None
        except LanemeshError:
            raise
        except Exception as error:
            if ending is not None:
                return None
            if self._closed:
                raise closed() from None
            if (known := self.failure(error)) is not None:
                raise known from None
            if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
                raise broken(self.server, f"a part of it is not JSON: {error}") from None
            why = f"a part of it is not of the form that the API defines ({type(error).__name__}: {error})"
            raise broken(self.server, why) from error


class ToolNames:
    """The names of tools as servers accept them: letters, digits, _ and -, at most 64."""

    def __init__(self, tools: Iterable[ToolSpec]) -> None:
        self._sent: dict[str, str] = {}
        self._own: dict[str, str] = {}
        for tool in tools:
            self.sent(tool.name)

    def sent(self, name: str) -> str:
        """The name for the server."""
        if name not in self._sent:
            made = base = _TOOL_NAME.sub("_", name)[:MAX_TOOL_NAME] or "_"
            number = 1
            while made in self._own:
                number += 1
                made = f"{base[: MAX_TOOL_NAME - 5]}_{number}"
            self._sent[name], self._own[made] = made, name
        return self._sent[name]

    def own(self, name: str) -> str:
        """The tool's own name; a name that was not sent is unchanged."""
        return self._own.get(name, name)


def parameters_of(tool: ToolSpec) -> dict[str, Any]:
    """The schema of a tool's arguments, which servers want to be of an object."""
    return {"type": "object", "properties": {}, **plain(tool.parameters)}


def plain(value: Any) -> Any:
    """A JSON value in plain dicts and lists, which client libraries can serialise."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments of an earlier call as an object, also if the model wrote no valid JSON."""
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"invalid_arguments": call.arguments}


def is_strict(schema: Any) -> bool:
    """Whether each object of a schema has exactly its properties, all of them required, as strict structured output wants."""
    if isinstance(schema, Mapping):
        if "properties" in schema or schema.get("type") == "object":
            names = set(schema.get("properties") or ())
            if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != names:
                return False
        return all(map(is_strict, schema.values()))
    return all(map(is_strict, schema)) if isinstance(schema, (list, tuple)) else True
