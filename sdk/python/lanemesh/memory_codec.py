"""Spaces, entries and queries of memories to and from their protobuf form."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from lanemesh.json_text import dump_json, read_json
from lanemesh.json_values import check_text
from lanemesh.memory import (
    FOUND,
    LISTED,
    MAX_LISTED,
    MAX_VALUE_BYTES,
    MemoryEntry,
    MemoryQuery,
    MemoryScope,
    MemorySpace,
    check_key,
    check_limit,
    check_prefix,
    check_ttl,
)
from lanemesh.times import seconds_of, set_seconds
from lanemesh.v1 import control_pb2

_TO_WIRE = {
    MemoryScope.RUN: control_pb2.MEMORY_SCOPE_RUN,
    MemoryScope.SESSION: control_pb2.MEMORY_SCOPE_SESSION,
    MemoryScope.STORE: control_pb2.MEMORY_SCOPE_STORE,
}
_FROM_WIRE = {number: scope for scope, number in _TO_WIRE.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_space(space: MemorySpace) -> control_pb2.MemorySpace:
    """The protobuf form of a space; the session is that of the run."""
    return control_pb2.MemorySpace(scope=_TO_WIRE[space.scope], namespace=space.namespace)


def decode_space(message: control_pb2.MemorySpace) -> MemorySpace:
    """The space in a message. Raises ValueError if it is not valid."""
    scope = _FROM_WIRE.get(message.scope)
    if scope is None:
        raise ValueError(f"a memory space has the scope run, session or store, not {message.scope}")
    return MemorySpace(scope, message.namespace)


def encode_entry(entry: MemoryEntry) -> control_pb2.MemoryEntry:
    """The protobuf form of an entry. Raises ValueError if its value is larger than 1 MiB as text."""
    value_json = dump_json(entry.value)
    size = check_text(value_json)
    if size > MAX_VALUE_BYTES:
        raise ValueError(
            f'the value of the memory entry "{entry.key}" has {size:,} bytes as JSON, and at most {MAX_VALUE_BYTES:,} can be stored'
        )
    return control_pb2.MemoryEntry(
        key=entry.key,
        value_json=value_json,
        text=entry.text,
        created_at=_encode_time(entry.created_at),
        expires_at=_encode_time(entry.expires_at),
        score=entry.score,
        embedding=entry.embedding,
    )


def decode_entry(message: control_pb2.MemoryEntry) -> MemoryEntry:
    """The entry in a message. Raises TypeError or ValueError if it is not valid."""
    if len(message.value_json) > MAX_VALUE_BYTES or check_text(message.value_json) > MAX_VALUE_BYTES:
        raise ValueError(f"the value of a memory entry has at most {MAX_VALUE_BYTES:,} bytes as JSON")
    return MemoryEntry(
        key=message.key,
        value=read_json(message.value_json),
        text=message.text,
        embedding=tuple(message.embedding),
        created_at=_decode_time(message.created_at) if message.HasField("created_at") else None,
        expires_at=_decode_time(message.expires_at) if message.HasField("expires_at") else None,
        score=message.score if message.HasField("score") else None,
    )


def encode_put(space: MemorySpace, entry: MemoryEntry, ttl: float | None) -> control_pb2.MemoryServicePutRequest:
    """The request to store an entry for `ttl` seconds. Raises ValueError if it is not valid."""
    check_ttl(ttl)
    request = control_pb2.MemoryServicePutRequest(space=encode_space(space), entry=encode_entry(entry))
    if ttl is not None:
        set_seconds(request.ttl, ttl)
    return request


def decode_put(request: control_pb2.MemoryServicePutRequest) -> tuple[MemorySpace, MemoryEntry, float | None]:
    """Space, entry and time to live of a request. Raises TypeError or ValueError if it is not valid."""
    ttl = seconds_of(request.ttl) if request.HasField("ttl") else None
    check_ttl(ttl)
    entry = replace(decode_entry(request.entry), created_at=None, expires_at=None, score=None)
    return decode_space(request.space), entry, ttl


def encode_get(space: MemorySpace, key: str) -> control_pb2.MemoryServiceGetRequest:
    """The request for one entry. Raises TypeError or ValueError if it is not valid."""
    check_key(key)
    return control_pb2.MemoryServiceGetRequest(space=encode_space(space), key=key)


def decode_get(request: control_pb2.MemoryServiceGetRequest) -> tuple[MemorySpace, str]:
    """Space and key of a request. Raises ValueError if it is not valid."""
    check_key(request.key)
    return decode_space(request.space), request.key


def encode_list(space: MemorySpace, prefix: str, limit: int) -> control_pb2.MemoryServiceListRequest:
    """The request for a list. Raises TypeError or ValueError if it is not valid."""
    check_prefix(prefix)
    check_limit(limit, MAX_LISTED)
    return control_pb2.MemoryServiceListRequest(space=encode_space(space), key_prefix=prefix, limit=limit)


def decode_list(request: control_pb2.MemoryServiceListRequest) -> tuple[MemorySpace, str, int]:
    """Space, prefix and limit of a request. Raises ValueError if it is not valid."""
    check_prefix(request.key_prefix)
    limit = request.limit or LISTED
    check_limit(limit, MAX_LISTED)
    return decode_space(request.space), request.key_prefix, limit


def encode_search(space: MemorySpace, query: MemoryQuery) -> control_pb2.MemoryServiceSearchRequest:
    """The request of a search."""
    return control_pb2.MemoryServiceSearchRequest(
        space=encode_space(space),
        query=query.text,
        embedding=query.embedding,
        limit=query.limit,
        min_score=query.min_score,
    )


def decode_search(request: control_pb2.MemoryServiceSearchRequest) -> tuple[MemorySpace, MemoryQuery]:
    """Space and query of a request. Raises ValueError if it is not valid."""
    limit = request.limit or FOUND
    query = MemoryQuery(request.query, tuple(request.embedding), limit, request.min_score)
    return decode_space(request.space), query


def encode_clear(space: MemorySpace, prefix: str) -> control_pb2.MemoryServiceClearRequest:
    """The request to remove entries. Raises TypeError or ValueError if it is not valid."""
    check_prefix(prefix)
    return control_pb2.MemoryServiceClearRequest(space=encode_space(space), key_prefix=prefix)


def decode_clear(request: control_pb2.MemoryServiceClearRequest) -> tuple[MemorySpace, str]:
    """Space and prefix of a request. Raises ValueError if it is not valid."""
    check_prefix(request.key_prefix)
    return decode_space(request.space), request.key_prefix


def _encode_time(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    moment = Timestamp()
    moment.FromDatetime(time)
    return moment


def _decode_time(moment: Timestamp) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=round(seconds_of(moment) * 1e6))
    except OverflowError as error:
        raise ValueError(f"a time is out of range: {error}") from None
