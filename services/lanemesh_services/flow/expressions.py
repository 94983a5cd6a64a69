"""Expressions of the Common Expression Language (CEL) over items, within bounds.

CEL has no loops, no assignments and no access to anything but its variables (https://cel.dev). What remains is bounded here: the
length of an expression, the depth of its macros, and the memory and steps that it may need for an item.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from lanemesh import LanemeshError

from lanemesh_services.flow.errors import bad_expression, expression_failed
from lanemesh_services.flow.values import as_json, described, text_of
from lanemesh_services.shared.errors import import_failed

MAX_EXPRESSION = 2_000
"""Longest expression in characters."""
MAX_MACROS = 2
"""Most macros, such as `items.map(...)`, within each other."""
MAX_STEPS = 200_000
"""Most evaluations of a macro's body for one item."""
MAX_PRODUCT_BYTES = 256 * 1024 * 1024
"""Most bytes that the sums of texts in an expression may have for one item: 256 MiB."""
_MACROS = ("all", "exists", "exists_one", "filter", "map", "reduce", "min")
_lock = threading.Lock()
"""The parser of the library is shared and not made for threads."""


class Expression:
    """A compiled expression. Its variables are `item` (the item as JSON), `text` (its text) and `lane` (the class of the item, such
    as "question")."""

    def __init__(self, source: str, setting: str, provider: str) -> None:
        """Compiles an expression; may block. `setting` is where it is written, for errors.

        Raises:
            LanemeshError: "bad-expression": it is no expression, or too long; the library is not installed.
        """
        try:
            import celpy
        except ImportError as error:
            raise import_failed("celpy", provider, "flow", error) from None
        self._source, self._setting = source, setting
        if len(source) > MAX_EXPRESSION:
            hint = "Put the work into a node of its own, such as `python`."
            raise bad_expression(setting, source, f"has more than {MAX_EXPRESSION:,} characters", hint)
        with _lock:
            environment = celpy.Environment()
            try:
                tree = environment.compile(source)
            except celpy.CELParseError as error:
                raise bad_expression(setting, source, f"is not CEL, near {_place(error)}", _HINT) from None
            self._depth = _macro_depth(tree)
            if self._depth > MAX_MACROS:
                why = f"has {self._depth} macros within each other"
                raise bad_expression(setting, source, why, f"At most {MAX_MACROS} are allowed.")
            self._uses = _names(tree)
            self._program = environment.program(tree, functions=_functions())
        self._sums = source.count("+") + 1

    def value(self, item: Any) -> Any:
        """The value of the expression for an item, as JSON. Blocks for its evaluation.

        Raises:
            LanemeshError: "expression-failed": it has no value for this item, or would need too much.
        """
        import celpy

        try:
            makers: dict[str, Callable[[Any], Any]] = {
                "item": as_json,
                "text": text_of,
                "lane": lambda value: type(value).__name__.lower(),
            }
            variables = {name: make(item) for name, make in makers.items() if name in self._uses}
            self._check_bounds(list(variables.values()), item)
            activation = {name: celpy.json_to_cel(value) for name, value in variables.items()}
            return _plain(self._program.evaluate(activation))
        except LanemeshError:
            raise
        except celpy.CELEvalError as error:
            why = _reason(error)
        except Exception as error:  # of any kind: the library lets errors of its functions pass
            why = f"{type(error).__name__}: {error}"
        raise expression_failed(self._setting, self._source, described(item), f"{why}. {_HINT}")

    def truth(self, item: Any) -> bool:
        """The value of a condition for an item. Raises as `value` does, also if it is neither true nor false."""
        value = self.value(item)
        if isinstance(value, bool):
            return value
        why = f"its value is {str(value)[:60]!r}, but a condition is true or false. Compare it, such as `... == true`"
        raise expression_failed(self._setting, self._source, described(item), why)

    def _check_bounds(self, given: Sequence[Any], item: Any) -> None:
        count, size = _extent(given)
        steps: int = count**self._depth
        if steps > MAX_STEPS or size * self._sums * steps > MAX_PRODUCT_BYTES:
            why = f"values: {count:,}, bytes: {size:,}, which is too much for this expression. Split it before"
            raise expression_failed(self._setting, self._source, described(item), why)


_HINT = "Variables: item, text, lane. The language is described at https://cel.dev"


def _place(error: Any) -> str:
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    return f"line {line} column {column}" if line and line > 0 else "its end"


def _reason(error: Exception) -> str:
    """The cause of a failed evaluation, without the dump of all variables that the library adds."""
    text, kind, inner = (*error.args, None, None, None)[:3]
    if kind is ValueError and inner:  # the library calls each of these an overflow
        return str(inner[0])[:200]
    text = str(text)
    return text.partition(" (in activation")[0].strip("\"'").removeprefix("no such overload: ")[:200]


def _macro_depth(tree: Any) -> int:
    """How many macros are within each other at most."""
    deepest = 0
    rest: list[tuple[Any, int]] = [(tree, 0)]
    while rest:
        node, depth = rest.pop()
        children: Sequence[Any] = getattr(node, "children", ())
        if getattr(node, "data", "") == "member_dot_arg" and str(children[1]) in _MACROS:
            depth += 1
        deepest = max(deepest, depth)
        rest.extend((child, depth) for child in children)
    return deepest


def _names(tree: Any) -> frozenset[str]:
    """The names in an expression."""
    return frozenset(str(token) for token in tree.scan_values(lambda token: getattr(token, "type", "") == "IDENT"))


def _extent(values: Sequence[Any]) -> tuple[int, int]:
    """How many values some JSON values hold, and the bytes of their texts, about."""
    count = size = 0
    rest = [*values]
    while rest:
        one = rest.pop()
        count += 1
        size += len(one) if isinstance(one, str) else 16
        if isinstance(one, dict):
            size += sum(map(len, one))
            rest.extend(one.values())
        elif isinstance(one, list):
            rest.extend(one)
    return count, size


def _plain(value: Any) -> Any:
    """A value of the library as JSON."""
    from celpy import celtypes

    if value is None:
        return None
    if isinstance(value, bool | celtypes.BoolType):
        return bool(value)
    if isinstance(value, celtypes.MapType):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, celtypes.ListType):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)  # times


def _functions() -> dict[str, Any]:
    """The functions of texts that CEL itself lacks, under the names of its extensions."""
    from celpy import celtypes

    def text(value: Any) -> Any:
        return celtypes.StringType(value)

    def replace(value: Any, old: Any, new: Any) -> Any:
        if value.count(old) * len(new) > 1_000_000:
            raise ValueError("`replace` would make a text of more than 1,000,000 characters")
        return text(value.replace(old, new))

    return {
        "lowerAscii": lambda value: text(value.lower()),
        "upperAscii": lambda value: text(value.upper()),
        "trim": lambda value: text(value.strip()),
        "replace": replace,
        "split": lambda value, by: celtypes.ListType([text(part) for part in value.split(str(by))]),
        "join": lambda parts, by="": text(str(by).join(map(str, parts))),
    }
