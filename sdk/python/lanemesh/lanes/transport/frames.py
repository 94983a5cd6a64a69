"""Frames of a lane: items are written to `ExchangeRequest`s and read from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from lanemesh.codec import decode, encode_into
from lanemesh.items import CHUNK_BYTES, ITEM_OVERHEAD_BYTES, MAX_MEDIA_BYTES, Envelope, Item, LaneType
from lanemesh.v1 import lane_pb2
from lanemesh.values import Media, bytes_of, with_bytes

MAX_FRAME_ITEMS = 256
"""Most items in a frame."""
MAX_FRAME_BYTES = 256 * 1024
"""Most bytes in a frame, unless one item alone is larger."""
_FRAME_MARGIN = 1024
"""Bytes in a frame that are reserved for its fields besides the items."""

PLAIN_CHARACTERS = 100
"""Longest text that counts as short here. With its two tags and lengths it must stay under 128 bytes."""
# The bytes before a short text of so many characters: an item's tag and length, its text's tag and length.
_HEADS = [f"\n{chr(length + 2)}\n{chr(length)}" for length in range(PLAIN_CHARACTERS + 1)]

Queued = tuple[Any, int, Envelope | None]
"""An outgoing item: value, size, envelope."""


Frame = lane_pb2.ExchangeRequest | bytes
"""An outgoing frame: a message, or its serialized bytes."""


def serialize(frame: Frame) -> bytes:
    """The bytes of a frame."""
    return frame if isinstance(frame, bytes) else frame.SerializeToString()


def parsed(frame: Frame) -> lane_pb2.ExchangeRequest:
    """A frame as a message."""
    return lane_pb2.ExchangeRequest.FromString(frame) if isinstance(frame, bytes) else frame


def next_frame(lane_type: LaneType, queue: deque[Queued], most: int = MAX_FRAME_ITEMS) -> tuple[Frame, int, int]:
    """Takes the items of one frame from the queue, which must not be empty: at most `most` items.

    Returns:
        The frame, how many items it carries, and their size as counted at `emit`, in bytes.
    """
    return (lane_type is LaneType.TEXT and _plain_frame(queue, most)) or _any_frame(lane_type, queue, most)


def whole_lane(lane_type: LaneType, queue: deque[Queued], held: int) -> lane_pb2.LaneItems | None:
    """All items of the queue, which are counted as `held` bytes; None if they do not fit into one frame. The queue keeps them."""
    if len(queue) > MAX_FRAME_ITEMS or held > MAX_FRAME_BYTES:
        return None
    items = lane_pb2.LaneItems()
    for value, size, envelope in queue:
        encode_into(items.items.add(), lane_type, Item(value, size, envelope))
    return items if items.ByteSize() <= MAX_FRAME_BYTES - _FRAME_MARGIN else None


def _plain_frame(queue: deque[Queued], most: int) -> tuple[bytes, int, int] | None:
    """The frame of the short ASCII texts at the head of the queue, serialized by hand; None if there are none.

    Most lanes carry tokens. Making a message of each token would cost more than all other work of a sender.
    """
    pieces: list[str] = []
    held = 0
    for _ in range(min(most, len(queue))):
        value, size, envelope = queued = queue.popleft()
        length = size - ITEM_OVERHEAD_BYTES
        if envelope is not None or length > PLAIN_CHARACTERS or len(value) != length:  # fewer characters: not ASCII
            queue.appendleft(queued)
            break
        pieces += (_HEADS[length], value)
        held += size
    if not pieces:
        return None
    items = "".join(pieces).encode()
    return b"\x12" + _varint(len(items)) + items, len(pieces) // 2, held


def _varint(number: int) -> bytes:
    """A protobuf varint (https://protobuf.dev/programming-guides/encoding/#varints)."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _any_frame(lane_type: LaneType, queue: deque[Queued], most: int) -> tuple[Frame, int, int]:
    frame = lane_pb2.ExchangeRequest()
    items = frame.items.items
    limit = MAX_FRAME_BYTES - _FRAME_MARGIN
    count = held = written = 0
    while queue and count < most:
        value, size, envelope = queue[0]
        if count and written + size > limit:
            break
        message = items.add()
        encode_into(message, lane_type, Item(value, size, envelope))
        # ByteSize encodes the message. For media that costs as much as sending it, and their size is known.
        written += size if isinstance(value, Media) else message.ByteSize() + 8
        if count and written > limit:  # larger on the wire than counted: it starts the next frame
            del items[-1]
            break
        queue.popleft()
        held += size
        count += 1
    return frame, count, held


def leading_chunks(queue: deque[Queued]) -> Iterator[lane_pb2.ExchangeRequest]:
    """If the next item has bytes, as media or the file of a document, that are more than a chunk, removes all but their last part,
    and returns these as frames to send first."""
    value, size, envelope = queue[0]
    content = bytes_of(value)
    if content is None or len(content) <= CHUNK_BYTES:
        return
    last = (len(content) - 1) // CHUNK_BYTES * CHUNK_BYTES
    for start in range(0, last, CHUNK_BYTES):
        yield lane_pb2.ExchangeRequest(chunk=lane_pb2.LaneChunk(content=content[start : start + CHUNK_BYTES]))
    queue[0] = (with_bytes(value, content[last:]), size, envelope)


def plain_texts(items: lane_pb2.LaneItems) -> list[str] | None:
    """The texts of a frame if every item is a plain short ASCII text, otherwise None.

    Checking each item for each of its other fields would cost more than all other work of a lane. Instead the size of the frame
    is compared with the size of the plain texts: every other field of a valid item makes the frame larger.
    """
    if len(items.items) == 1:  # the usual frame of a lane with little traffic
        text = items.items[0].text
        plain = len(text) <= PLAIN_CHARACTERS and text.isascii() and items.ByteSize() == len(text) + 4
        return [text] if plain else None
    texts = [item.text for item in items.items]
    joined = "".join(texts)
    if not texts or not joined.isascii() or len(max(texts, key=len)) > PLAIN_CHARACTERS:
        return None
    bare = len(joined) + 4 * len(texts)  # one byte each: an item's tag and length, a text's tag and length
    return texts if items.ByteSize() == bare else None


def read_items(lane_type: LaneType, items: lane_pb2.LaneItems, prefix: bytes | bytearray) -> list[Item]:
    """The items of a frame. `prefix` is the content of the chunks before it and belongs to the first item.

    Raises:
        ValueError: the lane's type does not accept an item, or one is larger than 256 MiB.
    """
    read = [decode(lane_type, item) for item in items.items]
    if prefix:
        first = read[0] if read else None
        last = bytes_of(first.value) if first is not None else None
        if first is None or last is None:
            raise ValueError("chunks arrived before an item that is neither media nor a document with a file")
        if len(prefix) + len(last) > MAX_MEDIA_BYTES:
            raise ValueError(f"an item has {len(prefix) + len(last):,} bytes; the limit is {MAX_MEDIA_BYTES:,}")
        whole = b"".join((prefix, last))
        read[0] = Item(with_bytes(first.value, whole), first.size + len(prefix), first.envelope)
    return read
