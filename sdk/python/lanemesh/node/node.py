"""The base class of every node, and the checks at the definition of a class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from lanemesh.faults import Code, Fault, NodeDefinitionError
from lanemesh.node.batch import Batch
from lanemesh.node.gpu import Gpu
from lanemesh.node.ports import InputSpec, OutputSpec, ports_of
from lanemesh.node.signatures import forgot_return, missing_method, misspelt, sdk_methods, wrong_hook, wrong_signature

if TYPE_CHECKING:
    from lanemesh.node.context import Context
    from lanemesh.node.environment import Environment


class Kind(Enum):
    """The three kinds of nodes, and the kind that only serves control connections."""

    PROCESS = "process"
    GENERATE = "gen_process"
    RUN = "run"
    HELPER = "helper"


@dataclass(frozen=True, slots=True)
class Invokes:
    """A kind of helper that a node calls, and how many of them."""

    class_type: str
    """The kind of helper, such as "llm"."""
    min: int = 1
    """Least number of helpers."""
    max: int | None = -1
    """Most helpers; None: any number. By default as many as `min`, and at least one."""
    name: str = ""
    """The name of these helpers in the node: `context.llms["judge"]`. Empty: they have no name."""

    def __post_init__(self) -> None:
        """Raises NodeDefinitionError if the bounds contradict each other."""
        if self.max == -1:
            object.__setattr__(self, "max", max(self.min, 1))
        if self.min < 0 or (self.max is not None and self.max < max(self.min, 1)):
            message = (
                f"Invokes({self.class_type!r}) requires {self.min} to {self.max} helpers; pass min <= max, and max >= 1"
            )
            raise NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=message))


class Node:
    """Base of all nodes.

    A subclass declares its ports (`a: In[float]`, `total: Out[float]`) and implements exactly one of

    * `process(self, context)`, which fires once per set of inputs and returns `{"port": value}`,
    * `gen_process(self, context)`, which per set of inputs yields `("port", value)` pairs, each sent at once,
    * `run(self, context, inputs, outputs)`, which is called once and reads its own inputs.

    With `batch = Batch(...)` it implements `process(self, items)`, which gets the firings of several runs and returns the results.

    The first two may be plain or `async` functions. Raises NodeDefinitionError when a class contradicts itself, or its method
    is not of this form.
    """

    provider: ClassVar[str] = ""
    """Name that pipelines use; the class's name in snake case unless given."""
    version: ClassVar[str] = "1"
    """Version of the node type."""
    aliases: ClassVar[Sequence[str]] = ()
    """Other names under which pipelines may know it."""
    profiles: ClassVar[dict[str, dict[str, Any]]] = {}
    """Named sets of config values."""
    sync_mode: ClassVar[str] = "on_any"
    """When it fires: "on_any", "zip_all" or "join"."""
    separate_inputs: ClassVar[bool] = False
    """Its inputs are independent: a firing by `on_any` has the value of the input whose item it took, and the defaults of the
    others. Without it, it has their latest values. Every input needs a default."""
    isolation: ClassVar[str] = "thread"
    """Where its bodies run: "thread" (asynchronous ones in the event loop of its node server, synchronous ones in worker threads)
    or "process" (in a process of its own, which is killed when the body is cancelled or takes too long)."""
    concurrency: ClassVar[int] = 1
    """Maximum number of concurrent firings, unless the pipeline sets it; with `batch`, that of its batches. Outputs keep the
    order of the inputs."""
    invokes: ClassVar[Sequence[Invokes]] = ()
    """Helpers that it calls."""
    offers: ClassVar[Sequence[str]] = ()
    """The kinds of helper that it offers: "llm" (it has `chat`), "tool" (`list_tools` and `call_tool`), "memory" (`put`, `get`,
    `list`, `search` and `clear`), "agent" (`run_agent`)."""
    fixed_tools: ClassVar[bool] = False
    """`list_tools` returns the same tools during a whole run."""
    boundary: ClassVar[str | None] = None
    """ "source" if clients feed it, "target" if it delivers to clients."""
    feeds_itself: ClassVar[bool] = False
    """It is a source that feeds itself, such as a timer: a run that names another source leaves it out."""
    runs_to_end: ClassVar[bool] = False
    """It continues when all its output lanes are stopped."""
    sends_one: ClassVar[bool] = False
    """It is a `run` node that sends at most one item by each output."""
    restartable: ClassVar[bool] = False
    """If its node server is lost during a run, it may be placed again on another one, and gets the items again that it had taken
    and not fully processed. Its processing of an item must be repeatable."""

    pip_extra: ClassVar[str] = ""
    """The extra of the package `lanemesh` that installs its libraries, such as "documents"; empty: it needs none."""
    python_packages: ClassVar[Sequence[str]] = ()
    """Import names of those libraries. A node server on which one is missing cannot run the node type."""

    class Config(BaseModel):
        """Settings of a component. Undeclared fields are rejected."""

        # Errors quote no values, which may be secret.
        model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    config: Any
    """The component's settings: an instance of the class's `Config`."""
    resource: Any
    """The result of `load`."""
    context: Any
    """Only in the items of a batch: the context of the component whose firing it is."""

    gpu_model: Any
    """The result of `load_model`, during a firing of a class with a `gpu`."""

    batch_: ClassVar[Batch | None] = None
    gpu_: ClassVar[Gpu | None] = None
    inputs_: ClassVar[dict[str, InputSpec]] = {}
    outputs_: ClassVar[dict[str, OutputSpec]] = {}
    kind_: ClassVar[Kind] = Kind.HELPER

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "provider" not in cls.__dict__:
            cls.provider = snake_case(cls.__name__)
        batch = getattr(cls, "batch", None)  # otherwise a port may have this name
        cls.batch_ = batch if isinstance(batch, Batch) else None
        gpu = getattr(cls, "gpu", None)  # otherwise a port may have this name
        cls.gpu_ = gpu if isinstance(gpu, Gpu) else None
        cls.inputs_, cls.outputs_ = ports_of(cls, _reserved_names(tuple(cls.offers), cls.batch_ is not None))
        cls.kind_ = _kind(cls)
        _check_methods(cls)
        if "Config" in cls.__dict__ and not cls.Config.model_config.get("hide_input_in_errors"):
            sealed = ConfigDict(hide_input_in_errors=True)
            if cls.Config.model_config.get("extra") != "forbid":
                sealed |= ConfigDict(extra="forbid", frozen=True)
            cls.Config = type("Config", (cls.Config,), {"model_config": sealed, "__module__": cls.__module__})  # type: ignore[misc, assignment]
        _check_flags(cls)
        if cls.kind_ is Kind.RUN:
            cls.sends_one = not cls.is_streaming_output()

    @classmethod
    def is_streaming_input(cls) -> bool:
        """It reads its own inputs, in one call of `run`. Follows from the class's method; an override must agree with it."""
        return cls.kind_ is Kind.RUN

    @classmethod
    def is_streaming_output(cls) -> bool:
        """It may send several items per firing: it implements `gen_process`, or `run` without `sends_one`. An override must agree
        with the class's method."""
        return cls.kind_ is Kind.GENERATE or (cls.kind_ is Kind.RUN and not cls.sends_one)

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Creates a resource that outlives a run, such as a model. Called once per node server and config; shared by all runs."""
        return None

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Frees the resource of `load`, when it was unused for a while or the server stops."""

    load_model: ClassVar[Any] = None
    """With a `gpu`: a class method `load_model(cls, config, device)` that loads the model of the class on a device, such as
    "cuda:0", whose `memory` is leased. Sync or async."""
    unload_model: ClassVar[Any] = None
    """With a `gpu`: a class method `unload_model(cls, model)` that frees the memory of the model. Sync or async."""
    offload_model: ClassVar[Any] = None
    """With a `gpu`: a class method `offload_model(cls, model)` that moves the model to host memory, while its firings wait and
    others need the device. Sync or async."""
    restore_model: ClassVar[Any] = None
    """With an `offload_model`: a class method `restore_model(cls, model, device)` that moves the model, which stays the same
    object, back to its device, before its firings go on. Sync or async."""

    async def finalize(self, context: Context) -> None:
        """Called once when the component has ended, for any reason."""

    @classmethod
    def may_go_without(cls, class_type: str) -> bool:
        """It calls helpers of this kind, and works without any as well."""
        return any(item.class_type == class_type and not item.min for item in cls.invokes)


@dataclass(frozen=True)
class Service:
    """A deployable unit: one or a few related node types. Found through the entry-point group `lanemesh.services`."""

    name: str
    """Name of the service, such as "llm"."""
    nodes: Sequence[type[Node]]
    """Its node types."""
    environment: Environment | None = None
    """The Python environment that its node servers need; None: the one in which Lanemesh is installed. Its module imports without
    it."""

    def __post_init__(self) -> None:
        for node in self.nodes:
            if node.kind_ is Kind.HELPER and not node.offers:
                raise _contradiction(node, "it implements none of process, gen_process and run, and has no `offers`")
            if missing := missing_method(node, node.offers):
                raise _malformed(node, missing)


def snake_case(name: str) -> str:
    """ "LlmScripted" as "llm_scripted"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def _reserved_names(offers: tuple[str, ...], batches: bool) -> frozenset[str]:
    """Names that no port may have, because every node that offers these kinds, and has a `batch`, has an attribute or a method with
    that name."""
    names = {*dir(Node), *Node.__annotations__, *sdk_methods(offers)}
    return frozenset(names | {"batch"} if batches else names - {"context"})


def _kind(cls: type[Node]) -> Kind:
    bodies = [kind for kind in (Kind.PROCESS, Kind.GENERATE, Kind.RUN) if callable(getattr(cls, kind.value, None))]
    if len(bodies) > 1:
        names = " and ".join(kind.value for kind in bodies)
        raise _contradiction(cls, f"it implements {names}; implement one of them")
    if cls.batch_ is not None and bodies not in ([Kind.PROCESS], []):
        raise _contradiction(cls, f"it has a batch, but implements {bodies[0].value}; implement process(self, items)")
    if bodies and (wrong := wrong_signature(cls, bodies[0].value, batches=cls.batch_ is not None)):
        raise _malformed(cls, wrong)
    if bodies == [Kind.RUN] and any(spec.is_list for spec in cls.inputs_.values()):
        raise _contradiction(cls, "it implements run, which reads its own inputs, but has a list input")
    return bodies[0] if bodies else Kind.HELPER


def _check_methods(cls: type[Node]) -> None:
    """Raises NodeDefinitionError if a method besides the body cannot be called, or its name is probably misspelt."""
    has_body = cls.kind_ is not Kind.HELPER
    needs_body = not has_body and not cls.offers
    wrong = wrong_hook(cls, cls.offers) or misspelt(cls, bodies=needs_body)
    if not wrong and has_body and cls.outputs_:
        wrong = forgot_return(cls, cls.kind_.value, cls.outputs_)
    if wrong:
        raise _malformed(cls, wrong)


def _malformed(cls: type[Node], what: str) -> NodeDefinitionError:
    message = f"the node class {cls.__qualname__} {what}."
    return NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=message))


def _check_flags(cls: type[Node]) -> None:
    """Raises NodeDefinitionError if the declarations of a class contradict its methods."""
    body = cls.kind_.value
    if cls.sync_mode not in ("on_any", "zip_all", "join"):
        raise _contradiction(cls, f'sync_mode is "{cls.sync_mode}"; it must be "on_any", "zip_all" or "join"')
    if cls.isolation not in ("thread", "process"):
        raise _contradiction(cls, f'isolation is "{cls.isolation}"; it must be "thread" or "process"')
    if len({(item.class_type, item.name) for item in cls.invokes}) < len(cls.invokes):
        raise _contradiction(cls, "two of its invokes have the same kind and the same name; use different names")
    if isinstance(getattr(cls, "on_error", None), str | Mapping) and "on_error" not in cls.inputs_:
        raise _contradiction(
            cls, 'it sets on_error, which is a field of components: write "on_error": "skip" in the pipeline'
        )
    if cls.feeds_itself and (cls.boundary or any(spec.required for spec in cls.inputs_.values())):
        raise _contradiction(cls, "it feeds itself, but clients feed or read it, or it has a required input")
    if cls.kind_ is Kind.HELPER:
        if cls.isolation == "process":
            raise _contradiction(cls, 'isolation is "process", but calls of helpers are made in their node server')
        _check_gpu(cls)
        return
    if cls.separate_inputs:
        _check_separate(cls)
    _check_gpu(cls)
    if cls.batch_ is not None and cls.isolation == "process":
        raise _contradiction(cls, 'isolation is "process", but the firings of a batch are of different runs')
    if cls.batch_ is not None and cls.restartable:
        raise _contradiction(cls, "it is restartable, but it has a batch, so that several of its firings run at once")
    if cls.kind_ is Kind.RUN and cls.sync_mode != "on_any":
        raise _contradiction(cls, f'sync_mode is "{cls.sync_mode}", but it implements run, which reads its own inputs')
    if cls.concurrency < 1 or (cls.concurrency > 1 and (cls.kind_ is Kind.RUN or cls.restartable)):
        raise _contradiction(
            cls, f"concurrency is {cls.concurrency}; it must be 1 for run and for restartable, and above 0"
        )
    if cls.kind_ is Kind.RUN and cls.restartable:
        raise _contradiction(cls, "it is restartable, but it implements run, for which processed items are unknown")
    if cls.kind_ is Kind.RUN and cls.isolation == "process":
        raise _contradiction(cls, 'isolation is "process", but it implements run, which cannot be isolated')
    if cls.is_streaming_input() is not (cls.kind_ is Kind.RUN):
        raise _contradiction(cls, f"is_streaming_input returns {cls.is_streaming_input()}, but it implements {body}")
    if type(cls.sends_one) is not bool:
        raise _contradiction(cls, "sends_one must be True or False")
    if cls.kind_ is not Kind.RUN and cls.sends_one:
        raise _contradiction(cls, f"sends_one is True, which is only for run, but it implements {body}")
    if cls.kind_ is not Kind.RUN and cls.is_streaming_output() is not (cls.kind_ is Kind.GENERATE):
        raise _contradiction(cls, f"is_streaming_output returns {cls.is_streaming_output()}, but it implements {body}")


def _check_gpu(cls: type[Node]) -> None:
    """Raises NodeDefinitionError if the `gpu` of a class contradicts its methods."""
    if cls.gpu_ is None:
        if cls.load_model is not None:
            raise _contradiction(cls, "it has a load_model, but no gpu; write gpu = Gpu(memory=...)")
        return
    if cls.kind_ is Kind.RUN or (cls.kind_ is Kind.HELPER and cls.offers):
        what = "implements run" if cls.kind_ is Kind.RUN else "has no firings"
        raise _contradiction(cls, f"it has a gpu, but {what}; write `async with context.gpu.lease(...)` in its method")
    if cls.batch_ is not None:
        raise _contradiction(cls, "it has a gpu and a batch, whose firings are of different runs; lease in process")
    if cls.load_model is not None:
        if not cls.gpu_.memory:
            raise _contradiction(cls, "it has a load_model, but its gpu gives no memory")
        if cls.gpu_.count > 1:
            raise _contradiction(cls, "it has a load_model, but its gpu counts several devices")
        if cls.isolation == "process":
            raise _contradiction(cls, 'isolation is "process", but a model is loaded in the node server')
        if (cls.offload_model is None) is not (cls.restore_model is None):
            has, lacks = ("offload", "restore") if cls.restore_model is None else ("restore", "offload")
            raise _contradiction(cls, f"it has {_article(has)} {has}_model, but no {lacks}_model")
    for name in ("unload_model", "offload_model", "restore_model"):
        if cls.load_model is None and getattr(cls, name) is not None:
            raise _contradiction(cls, f"it has {_article(name)} {name}, but no load_model")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _check_separate(cls: type[Node]) -> None:
    """Raises NodeDefinitionError if the inputs of a class cannot fire one by one."""
    if cls.kind_ is Kind.RUN:
        raise _contradiction(cls, "separate_inputs is True, but it implements run, which reads its own inputs")
    for spec in cls.inputs_.values():
        if spec.required or spec.is_list:
            what = "collects a list" if spec.is_list else "has no default"
            raise _contradiction(cls, f"separate_inputs is True, but the input {spec.name} {what}")


def _contradiction(cls: type[Node], what: str) -> NodeDefinitionError:
    message = f"the node class {cls.__qualname__} contradicts itself: {what}."
    return NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=message))
