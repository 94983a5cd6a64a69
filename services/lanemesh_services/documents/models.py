"""Calls of a connected model: several at a time, in order, and whole answers alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from lanemesh import ChatReply, Context, Message, Usage

from lanemesh_services.documents.errors import cut_off

T = TypeVar("T")
R = TypeVar("R")


async def asked(llm: Any, system: str, text: str, what: str, source: str, **options: Any) -> ChatReply:
    """The whole answer of a model.

    Args:
        llm: the model.
        system: its instructions.
        text: what it reads.
        what: a description of the answer for errors, such as "translation".
        source: where the text comes from, for errors.
        options: those of `LlmClient.chat`.

    Raises:
        LanemeshError: the answer is cut off ("answer-cut-off"), or the model's own.
    """
    reply: ChatReply = await llm.chat((Message("system", system), Message("user", text)), **options)
    if reply.finish_reason == "length":
        raise cut_off(what, source)
    return reply


async def in_order(items: Iterable[T], call: Callable[[T], Awaitable[R]], concurrency: int) -> AsyncGenerator[R, None]:
    """The results of a call for each item, in the order of the items, with at most `concurrency` calls at a time.

    Raises:
        Exception: the first that a call raised; the others are cancelled and awaited.
    """
    rest = iter(items)
    running: list[asyncio.Task[R]] = []
    try:
        while True:
            while len(running) < concurrency and (item := next(rest, _END)) is not _END:
                running.append(asyncio.ensure_future(call(item)))
            if not running:
                return
            yield await running[0]
            running.pop(0)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def read_all(
    context: Context, parts: Sequence[T], call: Callable[[T], Awaitable[R]], concurrency: int, source: str
) -> list[R]:
    """The results of a call for each part of a text, in order, with progress. `source` names the text. Raises like `in_order`."""
    found: list[R] = []
    async with aclosing(in_order(parts, call, concurrency)) as made:
        async for value in made:
            found.append(value)
            context.progress(len(found), len(parts), f"reading {source or 'a text'}")
    return found


_END: Any = object()


def summed(usages: Iterable[Usage | None]) -> Usage | None:
    """What all calls used together; None if none was counted."""
    counted = [usage for usage in usages if usage is not None]
    return sum(counted[1:], counted[0]) if counted else None
