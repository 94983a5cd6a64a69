"""What a client sends over the WebSocket: JSON objects with a `type` and an `id`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError

from lanemesh_orchestrator.gateway.api.bodies import StartRun
from lanemesh_orchestrator.gateway.bodies import Body
from lanemesh_orchestrator.gateway.invalid import invalid, invalid_fields

MAX_FRAMES = 64
"""Most binary frames of one request."""
MAX_ID = 64
"""Longest id of a request, in characters."""

RequestId = Annotated[str, Field(max_length=MAX_ID)]
RunId = Annotated[str, Field(min_length=1, max_length=64)]


class _Request(Body):
    id: RequestId = ""
    """Chosen by the client; the reply has it."""
    frames: int = Field(0, ge=0, le=MAX_FRAMES)
    """Number of binary frames that follow the request, which its values refer to."""
    _size: int = PrivateAttr(0)

    @property
    def size(self) -> int:
        """Size of its text, in characters."""
        return self._size

    def sized(self, size: int) -> Self:
        """The request, with its size."""
        self._size = size
        return self


class Start(_Request, StartRun):
    """Starts a run. Unless it is detached, it belongs to the socket."""

    type: Literal["start"]
    detached: bool = False
    watch: bool = True
    """Whether the updates of a detached run follow."""


class Input(_Request):
    """Feeds the source of a run."""

    type: Literal["input"]
    run_id: RunId
    value: Any = None
    values: list[Any] | None = Field(None, max_length=10_000)
    port: str = ""
    end: bool = False


class Cancel(_Request):
    """Cancels a run."""

    type: Literal["cancel"]
    run_id: RunId
    reason: str = Field("cancelled by a client", max_length=1_000)


class Approve(_Request):
    """Approves a call for which a component waits."""

    type: Literal["approve"]
    run_id: RunId
    call_id: str
    component: str = ""


class Refuse(_Request):
    """Refuses a call for which a component waits."""

    type: Literal["refuse"]
    run_id: RunId
    call_id: str
    component: str = ""
    reason: str = Field("", max_length=10_000)


class Watch(_Request):
    """Subscribes to the updates of a run."""

    type: Literal["watch"]
    run_id: RunId
    after: int = Field(0, ge=0, lt=2**63)


class Unwatch(_Request):
    """Ends the subscription to a run. An own run is cancelled."""

    type: Literal["unwatch"]
    run_id: RunId


class Subscribe(_Request):
    """Subscribes to a channel of the mesh, or of a run."""

    type: Literal["subscribe"]
    channel: str
    run_id: str = ""


class Unsubscribe(_Request):
    """Ends the subscription to a channel."""

    type: Literal["unsubscribe"]
    channel: str
    run_id: str = ""


class Publish(_Request):
    """Publishes a message on a channel."""

    type: Literal["publish"]
    channel: str
    run_id: str = ""
    message: Any = None


class Ping(_Request):
    """Asks whether the gateway is there."""

    type: Literal["ping"]


Request = Start | Input | Cancel | Approve | Refuse | Watch | Unwatch | Subscribe | Unsubscribe | Publish | Ping

TYPES: dict[str, type[Request]] = {
    "start": Start,
    "input": Input,
    "cancel": Cancel,
    "approve": Approve,
    "refuse": Refuse,
    "watch": Watch,
    "unwatch": Unwatch,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "publish": Publish,
    "ping": Ping,
}
"""The requests by their type."""


def read_request(value: Any) -> Request:
    """A JSON value as a request. Raises `InvalidRequest` with an error for each wrong field."""
    if not isinstance(value, dict):
        raise invalid("", "a message is a JSON object", "wrong-type")
    name = value.get("type")
    model = TYPES.get(name) if isinstance(name, str) else None
    if model is None:
        raise invalid("/type", f"it is one of {', '.join(TYPES)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_fields(error) from None


def may_wait(request: Request) -> bool:
    """Whether the answer may take any time: a run may be behind or wait for capacity, a channel for its subscribers."""
    return isinstance(request, Start | Input | Publish)


def only_ends(request: Request) -> bool:
    """Whether a request ends the input of a run, and has no value."""
    return isinstance(request, Input) and request.end and request.value is None and not request.values


def with_frames(value: Any, frames: Sequence[bytes], pointer: str = "", taken: set[int] | None = None) -> Any:
    """A value in which `{"frame": N}` of a media value, the number of a binary frame from 0, is replaced by its content.

    Args:
        value: the value.
        frames: the binary frames of its request.
        pointer: the JSON pointer to it.
        taken: the frames that the request has referred to, to which those of the value are added; None: none so far.

    Raises:
        InvalidRequest: there is no such frame, or it is referred to twice. Each reference would copy it, so that a small request
            would become a large one.
    """
    taken = set() if taken is None else taken
    if isinstance(value, dict):
        number = value.get("frame")
        if "mime_type" in value and number is not None:
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(frames):
                raise invalid(f"{pointer}/frame", f"it is the number of a binary frame, from 0 to {len(frames) - 1}")
            if number in taken:
                raise invalid(
                    f"{pointer}/frame", f"binary frame {number} is the content of another value. Send it twice"
                )
            taken.add(number)
            content = base64.b64encode(frames[number]).decode()
            return {**{key: one for key, one in value.items() if key != "frame"}, "content": content}
        return {key: with_frames(one, frames, f"{pointer}/{key}", taken) for key, one in value.items()}
    if isinstance(value, list):
        return [with_frames(one, frames, f"{pointer}/{index}", taken) for index, one in enumerate(value)]
    return value
