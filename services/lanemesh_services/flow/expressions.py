"""Expressions of the Common Expression Language (CEL) over items, within bounds.

CEL has no loops, no assignments and no access to anything but its variables (https://cel.dev). What remains is bounded: the length
of an expression and the depth of its macros here, and what it does for an item as it does it, by `work`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from lanemesh import LanemeshError

from lanemesh_services.flow.errors import bad_expression, expression_failed
from lanemesh_services.flow.values import as_json, described, text_of
from lanemesh_services.flow.work import TooMuch, Work
from lanemesh_services.shared.errors import import_failed

MAX_EXPRESSION = 2_000
"""Longest expression in characters."""
MAX_MACROS = 2
"""Most macros, such as `items.map(...)`, within each other."""
_MACROS = ("all", "exists", "exists_one", "filter", "map", "reduce", "min")
_CLOSED = re.compile(
    r"""//[^\n]*"""
    r"""|\"{3}(?:[^"\\]|\\.|"(?!""))*\"{3}|'{3}(?:[^'\\]|\\.|'(?!''))*'{3}"""
    r"""|"(?!"")(?:[^"\\\n]|\\.)*"|'(?!'')(?:[^'\\\n]|\\.)*'""",
    re.DOTALL,
)
"""Comments and texts with their end. The library takes exponential time to find that a text with escapes has none."""
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
            import celpy  # noqa: F401
        except ImportError as error:
            raise import_failed("celpy", provider, "flow", error) from None
        self._source, self._setting = source, setting
        if len(source) > MAX_EXPRESSION:
            hint = "Put the work into a node of its own, such as `python`."
            raise bad_expression(setting, source, f"has more than {MAX_EXPRESSION:,} characters", hint)
        if any(quote in _CLOSED.sub("", source) for quote in "\"'"):
            raise bad_expression(
                setting, source, "has a text that does not end", "Texts are written such as \"a\" or 'a'."
            )
        try:
            self._tree, self._literals, self._uses = self._read()
        except RecursionError:
            raise bad_expression(setting, source, "is nested too deeply", "Write fewer brackets.") from None

    def _read(self) -> tuple[Any, dict[int, Any], frozenset[str]]:
        """The tree of the expression, the values of its literals, and the names in it."""
        import celpy

        from lanemesh_services.flow.bounded_cel import literals

        source, setting = self._source, self._setting
        with _lock:
            try:
                tree = celpy.Environment().compile(source)
            except celpy.CELParseError as error:
                raise bad_expression(setting, source, f"is not CEL, near {_place(error)}", _HINT) from None
        depth = _macro_depth(tree)
        if depth > MAX_MACROS:
            why = f"has {depth} macros within each other"
            raise bad_expression(setting, source, why, f"At most {MAX_MACROS} are allowed.")
        if not all(map(_is_name, _macro_variables(tree))):
            why = "has a macro whose first argument is no name"
            raise bad_expression(setting, source, why, "Write it such as `items.map(one, one + 1)`.")
        try:
            return tree, literals(tree), _names(tree)
        except celpy.CELEvalError as error:
            raise bad_expression(
                setting, source, f"has a value that is out of range: {_reason(error)}", _HINT
            ) from None

    def value(self, item: Any) -> Any:
        """The value of the expression for an item, as JSON. Blocks for its evaluation.

        Raises:
            LanemeshError: "expression-failed": it has no value for this item, or would need too much.
        """
        import celpy

        from lanemesh_services.flow.bounded_cel import evaluate

        work = Work()
        try:
            makers: dict[str, Callable[[Any], Any]] = {
                "item": as_json,
                "text": text_of,
                "lane": lambda value: type(value).__name__.lower(),
            }
            variables = {name: make(item) for name, make in makers.items() if name in self._uses}
            given = {name: celpy.json_to_cel(value) for name, value in variables.items()}
            value = evaluate(self._tree, self._literals, given, work)
            work.walk(value)  # before it is copied: a value may hold another one often
            return _plain(value)
        except LanemeshError:
            raise
        except TooMuch as error:
            why = f"{error}, which is too much for this expression. Split it before"
            raise expression_failed(self._setting, self._source, described(item), why) from None
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


def _macro_variables(tree: Any) -> list[Any]:
    """The arguments of macros that name variables."""
    found: list[Any] = []
    for node in tree.find_data("member_dot_arg"):
        macro = str(node.children[1])
        if macro in _MACROS and len(node.children) > 2:
            found.extend(node.children[2].children[: 2 if macro == "reduce" else 1])
    return found


def _is_name(tree: Any) -> bool:
    """Whether a part of an expression is a name and nothing else."""
    while getattr(tree, "data", "paren_expr") != "paren_expr" and len(tree.children) == 1:
        tree = tree.children[0]
    return getattr(tree, "type", "") == "IDENT"


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
