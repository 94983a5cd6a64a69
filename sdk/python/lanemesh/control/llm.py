"""What a node has of its model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from lanemesh.control.chat_client import ChatClient
from lanemesh.control.connection import CALL_SECONDS, Connection, Waiting, relay
from lanemesh.control.instance import HelperInstance
from lanemesh.v1 import control_pb2


class LlmClient(ChatClient, ABC):
    """A model, wherever it is."""

    @abstractmethod
    def generate(self, request: control_pb2.GenerateRequest) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """One turn of the conversation, as it is written. Leaving the iteration cancels the generation at the helper.

        Raises:
            LanemeshError: with the helper's own fault, or with that of the connection.
        """

    @abstractmethod
    async def reach(self) -> None:
        """Makes sure that the helper can be called. Raises LanemeshError that names helper, invoker and address."""


class LocalLlmClient(LlmClient):
    """A model that lives in this process."""

    def __init__(
        self,
        helper: HelperInstance,
        timeout: float | None = CALL_SECONDS,
        *,
        invoker: str = "",
        waiting: Waiting | None = None,
    ) -> None:
        """`timeout` bounds a turn in seconds; `waiting` is entered around each wait on the helper."""
        self._helper = helper
        self._timeout = timeout
        self._waiting = waiting
        self._connection = Connection(class_type="llm", helper=helper.context.component, invoker=invoker)

    def generate(self, request: control_pb2.GenerateRequest) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """One turn of the conversation, as it is written."""
        pieces = self._helper.generate(request)
        return relay(pieces, self._connection, timeout=self._timeout, waiting=self._waiting)

    async def reach(self) -> None:
        """The helper is here."""
