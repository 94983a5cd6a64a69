"""A model for tests that answers by a function, after the calls that run beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, Usage
from lanemesh.extend import ChatClient


class Answering(ChatClient):
    """Answers each request by a function of its last message; two words an event."""

    def __init__(self, answer: Callable[[str], str], *, reason: str = "stop", most: int = 1) -> None:
        """`reason`: why each answer ends. `most`: how many calls it waits for before it answers, at most three steps."""
        self.requests: list[ChatRequest] = []
        self.active = 0
        self.most_active = 0
        self._answer = answer
        self._reason = reason
        self._most = most

    async def turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """One answer."""
        self.requests.append(request)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            for _ in range(20):
                if self.most_active >= self._most:
                    break
                await asyncio.sleep(0)
            answer = self._answer(request.messages[-1].content)
            half = len(answer) // 2
            yield ChatText(answer[:half])
            yield ChatText(answer[half:])
            yield Usage(1, 2)
            yield ChatFinish(self._reason)
        finally:
            self.active -= 1
