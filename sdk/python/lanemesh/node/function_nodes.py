"""Functions as nodes: `@node` makes a node class from a function's signature."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict, overload

from pydantic import Field, create_model

from lanemesh.faults import Code, Fault, NodeDefinitionError
from lanemesh.node.callables import CallKind, innermost, kind_of, takes_anything
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.node.ports import In, Out

OUTPUT = "out"
"""The output of a function that returns a value."""

_IN: Any = In
_OUT: Any = Out
_SETTINGS = frozenset(
    {
        *("provider", "version", "aliases", "profiles", "sync_mode", "isolation", "concurrency", "invokes"),
        *("runs_to_end", "restartable"),
    }
)
_ITERATED = (
    *(collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator),
    *(collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator),
)


@overload
def node(function: Callable[..., Any], /) -> type[Node]: ...
@overload
def node(**settings: Any) -> Callable[[Callable[..., Any]], type[Node]]: ...
def node(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Makes a node class of a function, which fires once per set of inputs. The function itself is the class's `function`.

    Its parameters are the inputs, and its keyword-only parameters the settings; a parameter called `context` gets the Context. Its
    result is sent by the output `out`, and None sends nothing; a function that returns a TypedDict has one output per key. A
    generator sends each value at once. The function may be plain, and then runs in worker threads, or `async`. Name and description
    are the function's.

    Args:
        function: the function, if the decorator is used without parentheses.
        settings: attributes of the class: provider, version, aliases, profiles, sync_mode, isolation, concurrency, invokes,
            runs_to_end, restartable.

    Raises:
        NodeDefinitionError: the signature lacks types, or has types that no lane carries, or a name is reserved.
        TypeError: there is no such setting.
    """
    unknown = settings.keys() - _SETTINGS
    if unknown:
        raise TypeError(f"@node has no setting {', '.join(sorted(unknown))}; it has {', '.join(sorted(_SETTINGS))}")
    if function is None:
        return lambda wanted: _node_class(wanted, settings)
    return _node_class(function, settings)


@dataclass(frozen=True, slots=True)
class _Signature:
    """The roles of the parameters of a function."""

    positional: tuple[str, ...]
    """Inputs that are passed by position."""
    named: tuple[str, ...]
    """Inputs that are passed by name."""
    settings: tuple[str, ...]
    context: str
    """The parameter that gets the context; empty if there is none."""

    def call(self, function: Callable[..., Any], node: Any, context: Context) -> Any:
        """Calls the function with the inputs and settings of a node."""
        named = {name: getattr(node, name) for name in self.named}
        named |= {name: getattr(node.config, name) for name in self.settings}
        if self.context:
            named[self.context] = context
        return function(*(getattr(node, name) for name in self.positional), **named)


def _node_class(function: Callable[..., Any], settings: dict[str, Any]) -> type[Node]:
    name = getattr(function, "__name__", type(function).__name__)
    try:
        hints = get_type_hints(innermost(function), include_extras=True)
        parameters = inspect.signature(function).parameters.values()
    except (NameError, TypeError, ValueError) as error:
        raise _refused(name, f"its signature cannot be resolved: {error}") from None
    namespace: dict[str, Any] = {
        "__module__": function.__module__,
        "__qualname__": getattr(function, "__qualname__", name),
        "__doc__": inspect.getdoc(function),
        "function": staticmethod(function),
        **settings,
    }
    signature = _read(name, parameters, hints, namespace)
    outputs, iterates = _outputs(name, function, hints)
    namespace["__annotations__"] |= {port: _OUT[hint] for port, hint in outputs.items()}
    single = OUTPUT if tuple(outputs) == (OUTPUT,) else ""
    body = _generating(function, signature, single) if iterates else _processing(function, signature, single)
    namespace[body.__name__] = body
    return type(name, (Node,), namespace)


def _read(name: str, parameters: Any, hints: dict[str, Any], namespace: dict[str, Any]) -> _Signature:
    """Adds the inputs and the settings to the namespace of the class."""
    annotations = namespace["__annotations__"] = {}
    fields: dict[str, Any] = {}
    positional: list[str] = []
    named: list[str] = []
    context = ""
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise _refused(name, f"it takes *{parameter.name}; every input needs its own parameter")
        hint = hints.get(parameter.name)
        if parameter.name == "context" or hint is Context:
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise _refused(name, "its context is positional-only; make it a normal parameter")
            context = parameter.name
            continue
        if hint is None:
            raise _refused(name, f"no type hint for {parameter.name}; write for example `{parameter.name}: str`")
        has_default = parameter.default is not parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            fields[parameter.name] = (hint, parameter.default if has_default else Field())
            continue
        annotations[parameter.name] = _IN[hint]
        if has_default:
            namespace[parameter.name] = parameter.default
        (positional if parameter.kind is parameter.POSITIONAL_ONLY else named).append(parameter.name)
    if fields:
        namespace["Config"] = create_model("Config", __base__=Node.Config, __module__=namespace["__module__"], **fields)
    return _Signature(tuple(positional), tuple(named), tuple(fields), context)


def _outputs(name: str, function: Callable[..., Any], hints: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The outputs with their types, and whether a call yields several values."""
    if "return" not in hints:
        raise _refused(name, "no type hint for its return value; write for example `-> str` or `-> None`")
    returned = hints["return"]
    yields = kind_of(innermost(function)) in (CallKind.GENERATOR, CallKind.ASYNC_GENERATOR)
    iterates = yields or get_origin(returned) in _ITERATED or returned in _ITERATED
    if iterates:
        if get_origin(returned) not in _ITERATED:
            raise _refused(name, f"it yields, but its return type is {returned}; write for example `-> Iterator[str]`")
        returned = get_args(returned)[0]
    if returned is NoneType:
        return {}, iterates
    if is_typeddict(returned):
        return get_type_hints(returned, include_extras=True), iterates
    return {OUTPUT: returned}, iterates


def _processing(function: Callable[..., Any], signature: _Signature, single: str) -> Callable[..., Any]:
    """A `process` that calls the function."""

    def by_port(result: Any) -> Any:
        return {single: result} if single and result is not None else result

    async def later(result: Any) -> Any:
        return by_port(await result)

    if kind_of(function) is CallKind.COROUTINE:

        async def process(self: Any, context: Context) -> Any:
            return by_port(await signature.call(function, self, context))

    elif _is_what_it_seems(function):

        def process(self: Any, context: Context) -> Any:  # type: ignore[misc]
            return by_port(signature.call(function, self, context))

    else:

        def process(self: Any, *arguments: Any) -> Any:  # type: ignore[misc]
            result = signature.call(function, self, *arguments)
            return later(result) if inspect.isawaitable(result) else by_port(result)

    return process


def _generating(function: Callable[..., Any], signature: _Signature, single: str) -> Callable[..., Any]:
    """A `gen_process` that iterates over the values of the function."""

    def pairs(value: Any) -> Any:
        return ((single, value),) if single else (value or {}).items()

    def each(values: Any) -> Iterator[Any]:
        try:
            for value in values:
                yield from pairs(value)
        finally:
            if hasattr(values, "close"):
                values.close()

    async def each_later(values: Any) -> AsyncIterator[Any]:
        async with aclosing(values) if hasattr(values, "aclose") else nullcontext():
            async for value in values:
                for pair in pairs(value):
                    yield pair

    if kind_of(function) is CallKind.ASYNC_GENERATOR:

        async def gen_process(self: Any, context: Context) -> Any:
            sent: Any = each_later(signature.call(function, self, context))
            async with aclosing(sent):
                async for pair in sent:
                    yield pair

    elif kind_of(function) is CallKind.GENERATOR:

        def gen_process(self: Any, context: Context) -> Any:
            yield from each(signature.call(function, self, context))

    else:

        def gen_process(self: Any, *arguments: Any) -> Any:  # type: ignore[misc]
            values = signature.call(function, self, *arguments)
            return each_later(values) if hasattr(values, "__aiter__") else each(values)

    return gen_process


def _is_what_it_seems(function: Callable[..., Any]) -> bool:
    return innermost(function) is function and not takes_anything(function)


def _refused(name: str, why: str) -> NodeDefinitionError:
    message = f"the function {name} cannot be a node: {why}."
    return NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=message))
