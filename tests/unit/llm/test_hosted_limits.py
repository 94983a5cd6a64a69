"""How long a model behind HTTP may be silent, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

import pytest
from lanemesh import ChatFinish, ChatRequest, ChatText, LanemeshError, Message
from lanemesh_services.llm.hosted import ALIVE, HostedEngine, HostedOptions, Piece, Spent
from lanemesh_services.llm.schemas import AnswerSchema
from lanemesh_services.shared.hosted_errors import ServerFailed

TIMEOUT = 120.0
REQUEST = ChatRequest((Message("user", "hello"),))


class Clock:
    """The clock of the event loop."""

    def __init__(self) -> None:
        self.moved = 0.0
        self._real = asyncio.get_running_loop().time

    def time(self) -> float:
        """Its time."""
        return self._real() + self.moved


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.time)
    return clock


class Paced(HostedEngine):
    """Sends pieces, each after so many seconds of the clock."""

    name = "Paced"

    def __init__(self, clock: Clock, *paced: tuple[float, Piece]) -> None:
        super().__init__(HostedOptions(model="m", base_url="http://127.0.0.1:9", timeout=TIMEOUT, retries=0))
        self._clock = clock
        self._paced = paced

    async def attempt(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[Piece, None]:
        """The pieces."""
        for seconds, piece in self._paced:
            self._clock.moved += seconds
            await asyncio.sleep(0)  # timers that are due run before
            await asyncio.sleep(0)
            yield piece

    def failure(self, error: Exception) -> LanemeshError | None:
        """None."""
        return None


async def text_of(engine: HostedEngine) -> str:
    """The text of an answer."""
    return "".join([event.text async for event in engine.chat(REQUEST) if isinstance(event, ChatText)])


END: tuple[tuple[float, Piece], ...] = ((1.0, Spent(3, 1)), (0.0, ChatFinish()))


async def test_a_server_that_works_for_longer_than_the_limit_is_not_silent(clock: Clock) -> None:
    working: Iterator[tuple[float, Piece]] = ((TIMEOUT * 0.6, ALIVE) for _ in range(5))
    assert await text_of(Paced(clock, *working, (TIMEOUT * 0.6, ChatText("Oslo")), *END)) == "Oslo"


async def test_a_server_that_works_no_more_is_silent(clock: Clock) -> None:
    with pytest.raises(ServerFailed) as caught:
        await text_of(Paced(clock, (1.0, ALIVE), (TIMEOUT * 1.1, ChatText("Oslo")), *END))
    assert caught.value.fault.reason == "model-server-silent"


async def test_what_follows_a_complete_answer_is_not_awaited_longer(clock: Clock) -> None:
    further: Iterator[tuple[float, Piece]] = ((3.0, ALIVE) for _ in range(1000))
    start = clock.time()
    assert await text_of(Paced(clock, (1.0, ChatText("Oslo")), (0.0, ChatFinish()), *further)) == "Oslo"
    assert clock.time() - start < 20
