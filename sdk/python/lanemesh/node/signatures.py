"""The signatures that a node's methods may have. A wrong one is reported at the definition of the class, not during a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.node.callables import CallKind, innermost, kind_of, may_return, mentions, takes_anything


@dataclass(frozen=True, slots=True)
class _Shape:
    """The required form of a method."""

    wanted: str
    arguments: int
    """Number of arguments in a call, besides the class or the instance."""
    on_class: bool = False
    """It is a class method."""
    streams: bool = False
    """It is an asynchronous generator."""


_BODIES = {
    "process": _Shape("`def process(self, context)` or `async def process(self, context)`", 1),
    "gen_process": _Shape(
        '`def gen_process(self, context)` or `async def gen_process(self, context)`, with `yield "port", value`', 1
    ),
    "run": _Shape("`async def run(self, context, inputs, outputs)`", 3),
}
_BATCH = _Shape("`def process(self, items)` or `async def process(self, items)`, which returns a list of results", 1)
_HOOKS = {
    "load": _Shape("`@classmethod` and `async def load(cls, config)`", 1, on_class=True),
    "unload": _Shape("`@classmethod` and `async def unload(cls, resource)`", 1, on_class=True),
    "load_model": _Shape("`@classmethod` and `async def load_model(cls, config, device)`", 2, on_class=True),
    "unload_model": _Shape("`@classmethod` and `async def unload_model(cls, model)`", 1, on_class=True),
    "offload_model": _Shape("`@classmethod` and `async def offload_model(cls, model)`", 1, on_class=True),
    "restore_model": _Shape("`@classmethod` and `async def restore_model(cls, model, device)`", 2, on_class=True),
    "finalize": _Shape("`async def finalize(self, context)`", 1),
}


def sdk_methods(offers: Collection[str] | None = None) -> frozenset[str]:
    """Names of the methods that the SDK calls in nodes that offer these kinds of helper; None: in any node."""
    kinds = [kind for kind in HELPER_KINDS.values() if offers is None or kind.name in offers]
    return frozenset({*_BODIES, *_HOOKS, *(name for kind in kinds for name in kind.methods)})


_GENERATORS = (CallKind.GENERATOR, CallKind.ASYNC_GENERATOR)
_MISSPELT_RATIO = 0.8


def wrong_signature(cls: type, name: str, *, batches: bool = False) -> str:
    """The error of a method called `name`, with its required form, as a predicate of the class; empty if it is valid. `batches`: it
    is the `process` of a class with a `batch`."""
    if not batches:
        return _wrong_signature(cls, name, _BODIES.get(name) or _HOOKS[name])
    if "context" in getattr(getattr(innermost(getattr(cls, name)), "__code__", None), "co_varnames", ())[:2]:
        return f"has a `batch` and a `process` that takes the context of one firing; write {_BATCH.wanted}"
    return _wrong_signature(cls, name, _BATCH)


def _wrong_signature(cls: type, name: str, shape: _Shape) -> str:
    method = getattr(cls, name)
    violation = (
        _wrong_binding(cls, name, shape)
        or _wrong_parameters(cls, name, method, shape)
        or _wrong_kind(name, method, shape)
    )
    return f"has a `{name}` that {violation}; write {shape.wanted}" if violation else ""


def wrong_hook(cls: type, offers: Collection[str]) -> str:
    """The error of the methods besides the body, as a predicate of the class; empty if they are valid."""
    for name in _HOOKS:
        if getattr(cls, name) is None:
            continue  # a class has it if it needs it
        if violation := wrong_signature(cls, name):
            return violation
    for offer in offers:
        for name, method in HELPER_KINDS[offer].methods.items() if offer in HELPER_KINDS else ():
            if not callable(getattr(cls, name, None)):
                continue  # a base class whose subclasses implement it
            shape = _Shape(method.wanted, method.arguments, streams=method.streams)
            if violation := _wrong_signature(cls, name, shape):
                return violation
    return ""


def missing_method(cls: type, offers: Collection[str]) -> str:
    """A method that a node type lacks for a kind of helper that it offers, as a predicate of the class; empty if there is none."""
    for offer in offers:
        for name, method in HELPER_KINDS[offer].methods.items() if offer in HELPER_KINDS else ():
            if not callable(getattr(cls, name, None)):
                return f'offers "{offer}", but has no `{name}`; write {method.wanted}'
    return ""


def misspelt(cls: type, *, bodies: bool) -> str:
    """A method of the class whose name is probably a misspelt body or hook, as a predicate of the class; empty if there is none.
    `bodies`: the class implements no body, so one may be meant."""
    meant = (*_BODIES, "finalize", "unload") if bodies else ("finalize", "unload")
    known = sdk_methods()
    for name, value in cls.__dict__.items():
        if name in known or name.startswith("__") or not callable(getattr(cls, name, None)):
            continue
        for right in meant:
            if isinstance(value, type) or not _alike(name, right):
                continue
            return f"has a method `{name}`, which nothing calls; rename it to `{right}`, or use a name that is less similar"
    return ""


def forgot_return(cls: type, name: str, outputs: Collection[str]) -> str:
    """The error of a body that names one of its outputs and returns nothing, as a predicate of the class; empty if it is valid."""
    method = getattr(cls, name)
    if name != "process" or innermost(method) is not method or may_return(method) or not mentions(method, outputs):
        return ""
    return 'has a `process` that computes a value for an output but returns nothing; write `return {"port": value}`'


def _alike(name: str, right: str) -> bool:
    plain, wanted = (text.replace("_", "").lower() for text in (name, right))
    if plain == wanted:
        return True
    if "process" in plain or wanted in plain or len(right) < 6:  # `process_rows`, `rerun`: deliberate names
        return len(plain) == len(wanted) and sorted(plain) == sorted(wanted)
    return SequenceMatcher(None, plain, wanted).ratio() >= _MISSPELT_RATIO


def _wrong_binding(cls: type, name: str, shape: _Shape) -> str:
    if not shape.on_class or isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod):
        return ""
    return "" if inspect.ismethod(getattr(cls, name)) else "is no classmethod"


def _wrong_parameters(cls: type, name: str, method: Callable[..., Any], shape: _Shape) -> str:
    static = inspect.getattr_static(cls, name)
    has_self = inspect.isfunction(static) or hasattr(type(static), "__get__")
    is_bound = isinstance(static, staticmethod | classmethod) or not has_self
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # a function written in C has no signature
        return ""
    try:
        signature.bind(*(None,) * (shape.arguments + (not is_bound)))
    except TypeError:
        shown = ", ".join(signature.parameters) or "nothing"
        return f"takes ({shown})"
    return ""


def _wrong_kind(name: str, method: Callable[..., Any], shape: _Shape) -> str:
    """The error of the kind of a method. Decorators that name what they wrap may make it any callable: the innermost counts."""
    inner = innermost(method)
    kind = kind_of(inner)
    yields = kind in _GENERATORS
    if name == "gen_process" or shape.streams:
        if kind is CallKind.VALUE and may_return(inner) and takes_anything(inner):
            return ""  # of a decorator: its result is checked when it is called
        if shape.streams and kind is CallKind.GENERATOR:
            return "is not an `async` function"
        return "" if yields else "yields nothing"
    if yields:
        return "yields" + (", which is for `gen_process`" if name == "process" else "")
    if name == "run" and kind is not CallKind.COROUTINE:
        return "is a plain function"
    return ""
