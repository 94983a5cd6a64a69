"""The format of updates in the store: packed in batches, with large values stored separately and replaced by a hash.

An entry is the length of what follows in 4 bytes (big-endian), a byte that is set if a hash follows, the hash of 32 bytes in this
case, and the update.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf import timestamp_pb2
from lanemesh.text_outputs import Entry, TextOutputs
from lanemesh.times import NANOSECONDS
from lanemesh.v1 import lane_pb2, update_pb2

LARGE_BYTES = 64 * 1024
"""Size of an item, in bytes, from which on it is stored separately: 64 KiB."""
HASH_BYTES = 32

_HEAD = struct.Struct(">I?")
_SHORT_VARINTS = [bytes([number]) for number in range(0x80)]


@dataclass(slots=True)
class Packed:
    """Updates of one run, in order."""

    content: bytes
    large: dict[bytes, bytes] = field(default_factory=dict)
    """Large values by their hash."""


def pack(entries: Iterable[Entry]) -> Packed:
    """Packs updates."""
    parts: list[bytes] = []
    large: dict[bytes, bytes] = {}
    for entry in entries:
        if isinstance(entry, TextOutputs):
            parts.append(_texts(entry))
            continue
        update = entry
        item = _item_of(update)
        mark = b""
        if item is not None and item.ByteSize() >= LARGE_BYTES:
            content = _payload(item)
            mark = hashlib.sha256(content).digest()
            large[mark] = content
            bare = update_pb2.Update()
            bare.CopyFrom(update)
            rest = _item_of(bare)
            assert rest is not None
            rest.ClearField(item.WhichOneof("payload") or "text")
            update = bare
        content = update.SerializeToString()
        parts += (_HEAD.pack(len(mark) + len(content), bool(mark)), mark, content)
    return Packed(b"".join(parts), large)


def _texts(outputs: TextOutputs) -> bytes:
    """Text outputs as the same entries as those of their updates, serialized by hand.

    A message of each output would take most of the time of a store.
    """
    time = outputs.time
    moment = timestamp_pb2.Timestamp(seconds=time // NANOSECONDS, nanos=time % NANOSECONDS).SerializeToString()
    when = b"\x12" + _varint(len(moment)) + moment
    target = update_pb2.OutputUpdate(
        component=outputs.component, port=outputs.port, name=outputs.name
    ).SerializeToString()
    parts: list[bytes] = []
    for number, text in enumerate(outputs.texts, outputs.first):
        value = text.encode()
        item = b"\x0a" + _varint(len(value)) + value
        output = target + b"\x1a" + _varint(len(item)) + item
        content = b"\x08" + _varint(number) + when + b"\x32" + _varint(len(output)) + output
        parts += (_HEAD.pack(len(content), False), content)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    """A protobuf varint (https://protobuf.dev/programming-guides/encoding/#varints)."""
    if number < 0x80:
        return _SHORT_VARINTS[number]
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def hashes_in(content: bytes) -> set[bytes]:
    """The hashes of the large items that packed updates refer to."""
    return {mark for mark, _ in _entries(content) if mark}


def count_outputs(content: bytes) -> int:
    """Number of the updates that are outputs with a value."""
    updates = ((mark, update_pb2.Update.FromString(packed)) for mark, packed in _entries(content))
    return sum(
        update.WhichOneof("kind") == "output" and bool(mark or update.output.item.WhichOneof("payload"))
        for mark, update in updates
    )


def unpack(content: bytes, large: Mapping[bytes, bytes]) -> Iterator[update_pb2.Update]:
    """The updates; `large` has the large items that they refer to."""
    for mark, packed in _entries(content):
        update = update_pb2.Update.FromString(packed)
        if mark:
            getattr(update, update.WhichOneof("kind") or "").item.MergeFromString(large[mark])
        yield update


def _payload(item: lane_pb2.Item) -> bytes:
    """Only the value of an item, so that equal values are equal with any metadata."""
    value = lane_pb2.Item()
    value.CopyFrom(item)
    for known in ("group", "lineage", "metadata", "created_at"):
        value.ClearField(known)
    return value.SerializeToString(deterministic=True)


def _entries(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(content):
        length, has_mark = _HEAD.unpack_from(content, place)
        place += _HEAD.size
        end = place + length
        start = place + HASH_BYTES if has_mark else place
        yield content[place:start], content[start:end]
        place = end


def _item_of(update: update_pb2.Update) -> lane_pb2.Item | None:
    kind = update.WhichOneof("kind")
    if kind == "output":
        return update.output.item
    return update.trace.item if kind == "trace" and update.trace.HasField("item") else None
