"""Secret values of configs: found in a config, and left out of what is reported and logged.

Data is not looked at: a node that sends its secret as an item has sent it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lanemesh.faults import Fault
from lanemesh.v1 import update_pb2

HIDDEN = "***"
"""What stands in the place of a secret."""
MIN_CHARACTERS = 4
"""Shorter values are left as they are: they hide nothing, and too much else reads like them."""
MIN_LINE_CHARACTERS = 8
"""Shortest line of a secret of several lines, such as a key in PEM form, that is hidden by itself."""
MAX_REMEMBERED = 1_000
"""Most secrets that a process remembers for its own log; the oldest are forgotten first."""

_SLICE = re.compile(r"(.*)/(\d{1,9}):(\d{1,9})", re.DOTALL)
_PLACES: Final = frozenset(
    {"component", "components", "provider", "server", "lane", "port", "helper", "address", "exception", "run"}
)
"""Details of faults that name things of the pipeline and of the mesh."""


class Secrets:
    """Hides some strings in texts, faults and updates: each as it is, and as JSON, Python and URLs write it."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Values of fewer than 4 characters are left out."""
        self.values = tuple(dict.fromkeys(value for value in values if len(value) >= MIN_CHARACTERS))
        # The longest first: one that holds another is hidden as a whole.
        forms = sorted({form for value in self.values for form in _forms(value)}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def hidden(self, text: str) -> str:
        """The text with "***" in the place of every secret."""
        return self._pattern.sub(HIDDEN, text) if self._pattern is not None else text

    def fault(self, fault: Fault) -> Fault:
        """The fault without secrets in its message, its traceback and its details."""
        if self._pattern is None:
            return fault
        details = {key: text if key in _PLACES else self.hidden(text) for key, text in fault.details.items()}
        return replace(
            fault, message=self.hidden(fault.message), traceback=self.hidden(fault.traceback), details=details
        )

    def hide(self, update: update_pb2.Update) -> None:
        """Takes secrets out of what an update says in words. Names and outputs stay as they are."""
        if self._pattern is None:
            return
        match update.WhichOneof("kind"):
            case "node":
                self._hide(update.node, "detail")
                if update.node.HasField("error"):
                    update.node.error.CopyFrom(self.fault(Fault.from_proto(update.node.error)).to_proto())
            case "progress":
                self._hide(update.progress, "message")
            case "log":
                self._hide(update.log, "message")
            case "tool":
                self._hide_tool(update.tool)
            case "approval":
                for field in ("description", "arguments_json", "reason"):
                    self._hide(update.approval, field)

    def hide_call(self, trace: update_pb2.TraceUpdate) -> None:
        """Takes secrets out of a request or an answer of a control connection."""
        if self._pattern is None:
            return
        self._hide(trace, "summary")
        if trace.item.data_json:
            self._hide(trace.item, "data_json")

    def _hide_tool(self, tool: update_pb2.ToolUpdate) -> None:
        match tool.WhichOneof("event"):
            case "thought":
                self._hide(tool, "thought")
            case "call":
                self._hide(tool.call, "arguments_json")
            case "result":
                self._hide(tool.result, "content_json")
            case "progress":
                self._hide(tool.progress, "message")

    def _hide(self, message: Any, field: str) -> None:
        text = getattr(message, field)
        if text:
            setattr(message, field, self.hidden(text))


NO_SECRETS = Secrets()
"""Hides nothing."""


def secrets_of(configs: Iterable[tuple[str, Sequence[str]]]) -> Secrets:
    """What hides the secrets of these configs, each a JSON object as text with the pointers to its secret values; this process
    remembers them for its log."""
    values = [value for config, pointers in configs if pointers for value in secret_values(config, pointers)]
    if not values:
        return NO_SECRETS
    secrets = Secrets(values)
    _remember(secrets.values)
    return secrets


def secret_values(config: str, pointers: Sequence[str]) -> list[str]:
    """The secret strings of a config, a JSON object as text.

    A pointer is a JSON pointer (RFC 6901) into it; of an object or array all strings are secret. One that goes on into a string,
    as in "/headers/authorization/7:39", means these characters of it, and that the rest of that string is none.
    """
    try:
        tree = json.loads(config or "{}")
    except ValueError:
        return []
    sliced, whole = [], []
    for pointer in pointers:
        match = _SLICE.fullmatch(pointer)
        text = _at(tree, match[1]) if match else None
        if match and isinstance(text, str):
            sliced.append((match[1], text[int(match[2]) : int(match[3])]))
        else:
            whole.append(pointer)
    in_parts = {pointer for pointer, _ in sliced}
    found = [value for pointer in whole if pointer not in in_parts for value in _strings(_at(tree, pointer))]
    return [*found, *(part for _, part in sliced)]


def hide_in_log(secret: str) -> None:
    """Hides a secret of this process in all that it logs from now on."""
    _remember(Secrets([secret]).values)


def hidden_in_log(text: str) -> str:
    """A text for the log of this process without any secret that it remembers."""
    return _remembered().hidden(text)


def revealed(value: Any) -> Any:
    """A value that pydantic has dumped, with what its `SecretStr` and the like hold, which pydantic would write as stars."""
    from pydantic import SecretBytes, SecretStr

    if isinstance(value, (SecretStr, SecretBytes)):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: revealed(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [revealed(inner) for inner in value]
    return value


_memory: dict[str, None] = {}


def _remember(values: Iterable[str]) -> None:
    before = len(_memory)
    for value in values:
        _memory.pop(value, None)
        _memory[value] = None
    while len(_memory) > MAX_REMEMBERED:
        del _memory[next(iter(_memory))]
    if len(_memory) != before or before == MAX_REMEMBERED:
        _remembered.cache_clear()


@functools.cache
def _remembered() -> Secrets:
    return Secrets(_memory)


def _forms(value: str) -> Iterator[str]:
    """A secret as texts may hold it."""
    from urllib.parse import quote, quote_plus

    lines = [line for line in value.splitlines() if len(line.strip()) >= MIN_LINE_CHARACTERS]
    for text in (value, *(lines if "\n" in value else ())):
        yield text
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield json.dumps(json.dumps(text)[1:-1])[1:-1]  # JSON within JSON, as arguments of tools are
        yield repr(text)[1:-1]
        printable = text.encode("utf-8", "replace").decode()
        yield quote(printable, safe="")
        yield quote_plus(printable)


def _at(tree: Any, pointer: str) -> Any:
    """What a JSON pointer points to; None if nothing."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(tree, dict):
            tree = tree.get(key)
        elif isinstance(tree, list) and key.isdecimal() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            return None
    return tree


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, (int, float)):
        yield json.dumps(value)
    else:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
