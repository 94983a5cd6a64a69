"""The node types of the llm service. All three have the same ports and offer the same control connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from lanemesh import (
    Answer,
    ChatEvent,
    ChatFinish,
    ChatRequest,
    ChatText,
    Context,
    In,
    Node,
    Out,
    Pieces,
    Question,
    ToolCall,
    Usage,
)
from lanemesh.extend import in_thread
from pydantic import BaseModel, ConfigDict, Field

from lanemesh_services.llm.engine import DEFAULT_MAX_TOKENS, MAX_STOPS, Engine
from lanemesh_services.llm.engine_cache import SHELF
from lanemesh_services.llm.messages import to_request
from lanemesh_services.llm.on_gpu import (
    engine_name,
    folder_bytes,
    gguf_bytes,
    llamacpp_uses_gpu,
    transformers_uses_gpu,
)
from lanemesh_services.llm.schemas import answer_data
from lanemesh_services.shared import models

SMOLLM2 = {"model": "smollm2", "temperature": 0.2, "top_p": 0.9, "context_length": 2048}
"""SmolLM2-135M-Instruct with the sampling settings that its makers recommend."""
TINY = {"model": models.TINY_RANDOM, "context_length": 512, "max_tokens": 16}
"""A tiny generated model with random weights, for tests."""


PURPOSE = "generates an answer"
"""What a lease of a GPU is for."""

_SETTINGS = ("temperature", "top_p", "top_k", "max_tokens", "seed")

StopText = Annotated[str, Field(min_length=1)]


class Defaults(BaseModel):
    """Sampling settings of a component: the defaults of requests."""

    temperature: float = Field(
        0.7, ge=0, le=2, description="0 always selects the most probable token; greater values vary more."
    )
    top_p: float = Field(
        0.95, gt=0, le=1, description="Sample only from the most probable tokens with this total probability."
    )
    top_k: int = Field(40, ge=0, description="Sample only from this number of most probable tokens; 0: all.")
    max_tokens: int = Field(DEFAULT_MAX_TOKENS, ge=1, description="Maximum number of tokens of one answer.")
    stop: list[StopText] = Field(
        default=[], max_length=MAX_STOPS, description="Texts that end an answer; they are not part of it."
    )
    seed: int | None = Field(
        None, ge=0, lt=2**64, description="Seed of the random generator; null: a new one for each answer."
    )

    def apply(self, request: ChatRequest) -> ChatRequest:
        """A request in which every setting is filled in."""
        given = request.sampling
        missing = {name: getattr(self, name) for name in _SETTINGS if getattr(given, name) is None}
        stop = given.stop or tuple(self.stop)
        return replace(request, sampling=replace(given, **missing, stop=stop))


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine that a node server has loaded for a component."""

    engine: Engine | None
    """The engine; other components may use the same one. None: it is loaded on a GPU under a lease."""
    key: Hashable
    """Its key in the engine cache."""
    gpu_bytes: int = 0
    """Memory of a GPU that it takes."""


class LanguageModel(Node):
    """Base of all language models. A subclass defines how its engine is created."""

    offers = ("llm",)

    questions: Annotated[In[Question], "What is asked."]
    answers: Annotated[
        Out[Answer], "The pieces of the answer, as they are generated; the last one has finish reason and usage."
    ]
    text: Annotated[Out[Pieces[str]], "Only the text of the answer, in pieces as they are generated."]

    @classmethod
    def plan(cls, config: Any) -> tuple[Hashable, Callable[[], Engine]]:
        """The key of the engine of a config, and a function that creates it, which may block."""
        raise NotImplementedError

    @classmethod
    def gpu_bytes(cls, config: Any) -> int:
        """Memory of a GPU that the engine of a config takes; 0: it uses none, or that is unknown. May block."""
        return 0

    @classmethod
    def engine_on(cls, config: Any, device: str) -> Engine:
        """The engine of a config on a GPU such as "cuda:0". Blocks."""
        raise NotImplementedError

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """Loads the engine, unless this process has the same one already, or it is loaded on a GPU when it is used."""
        key, make = cls.plan(config)
        if size := await in_thread(partial(cls.gpu_bytes, config)):
            return Loaded(None, (cls, key), size)
        return Loaded(await SHELF.take((cls, key), make), (cls, key))

    @classmethod
    async def unload(cls, resource: Loaded) -> None:
        """Closes the engine, unless another component uses it. On a GPU it stays until others need the memory."""
        if resource.engine is None:
            return
        await SHELF.give_back(resource.key)

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Answers one question."""
        pieces: list[str] = []
        usage = None
        request = to_request(self.questions)
        async with aclosing(self.chat(context, request)) as events:
            async for event in events:
                match event:
                    case ChatText():
                        pieces.append(event.text)
                        yield "text", event.text
                        yield "answers", Answer(text=event.text)
                    case ToolCall():
                        yield "answers", Answer(tool_calls=(event,))
                    case Usage():
                        usage = event
                    case ChatFinish():
                        data = data_of(event.reason, "".join(pieces), request, context)
                        yield "answers", Answer(data=data, finish_reason=event.reason, usage=usage)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn for an invoker, with the component's settings where the request has none."""
        async with (
            self._loaded_engine(context) as engine,
            aclosing(engine.chat(self.config.apply(request))) as events,
        ):
            async for event in events:
                yield event

    @asynccontextmanager
    async def _loaded_engine(self, context: Context) -> AsyncGenerator[Engine, None]:
        """The engine, on a GPU under a lease."""
        loaded: Loaded = self.resource
        if loaded.engine is not None:
            yield loaded.engine
            return
        name = engine_name(self.provider, loaded.key)
        async with context.gpu.lease(memory=loaded.gpu_bytes, model=name, purpose=PURPOSE) as lease:
            make = partial(type(self).engine_on, self.config, lease.device.id)
            yield await lease.keep(partial(in_thread, make), close_engine)


async def close_engine(engine: Engine) -> None:
    """Frees an engine."""
    await engine.close()


def data_of(reason: str, text: str, request: ChatRequest, context: Context) -> Any:
    """The value of a structured answer, if lanes can carry it; a warning has the reason if not."""
    if request.schema is None or reason != "stop":
        return None
    data, problem = answer_data(text, request.schema)
    if problem:
        context.log.warning("the answer has only text and no data: %s", problem)
    return data


class LlmLlamacpp(LanguageModel):
    """A language model in a GGUF file, on llama.cpp: light, fast on a CPU, answers that follow a JSON schema."""

    pip_extra = "llm"
    python_packages = ("xllamacpp",)
    profiles: ClassVar = {"smollm2": SMOLLM2, "tiny-random": TINY}

    class Config(Defaults):
        """Settings of a component."""

        model: str = Field(
            description='Path of a GGUF file, or a known name such as "smollm2".',
            json_schema_extra={"format": "path-or-name"},
        )
        context_length: int = Field(
            2048, ge=64, description="Maximum number of tokens of one conversation, including the answer."
        )
        slots: int = Field(
            4, ge=1, le=64, description="Maximum number of concurrent answers over all runs; further requests wait."
        )
        threads: int | None = Field(None, ge=1, description="Number of threads; null: half of the CPUs.")
        gpu_layers: int = Field(-1, ge=-1, description="Layers on the GPU, if there is one; -1: as many as fit.")
        projector: str | None = Field(
            None,
            description='Path of the GGUF file with the model\'s projector of images ("mmproj"); null: it reads only text.',
            json_schema_extra={"format": "path"},
        )

    @classmethod
    def plan(cls, config: Any) -> tuple[Hashable, Callable[[], Engine]]:
        """See `LanguageModel.plan`."""
        names = {"model", "context_length", "slots", "threads", "gpu_layers", "projector"}
        settings = config.model_dump(include=names)
        return tuple(settings.values()), lambda: _llamacpp(settings)

    @classmethod
    def gpu_bytes(cls, config: Any) -> int:
        """See `LanguageModel.gpu_bytes`."""
        if not config.gpu_layers or not llamacpp_uses_gpu():
            return 0
        path, projector = gguf_files(config.model, config.projector)
        return gguf_bytes(path, config.context_length * config.slots, config.gpu_layers, projector)

    @classmethod
    def engine_on(cls, config: Any, device: str) -> Engine:
        """See `LanguageModel.engine_on`."""
        names = {"model", "context_length", "slots", "threads", "gpu_layers", "projector"}
        return _llamacpp(config.model_dump(include=names) | {"device": device})


def _llamacpp(settings: dict[str, Any]) -> Engine:
    from lanemesh_services.llm.llamacpp import LlamaCppEngine
    from lanemesh_services.llm.llamacpp_server import LlamaCppOptions

    path, projector = gguf_files(settings["model"], settings["projector"])
    others = {name: value for name, value in settings.items() if name not in ("model", "projector")}
    return LlamaCppEngine.load(LlamaCppOptions(path=path, projector=projector, **others))


def gguf_files(model: str, projector: str | None) -> tuple[Path, Path | None]:
    """The GGUF files of a component's `model` and `projector`."""
    from lanemesh_services.llm.tiny import tiny_gguf

    path = tiny_gguf() if model == models.TINY_RANDOM else models.resolve(model)
    return path, models.resolve(projector) if projector is not None else None


class LlmTransformers(LanguageModel):
    """A language model on torch and transformers, all runs in one continuous batch, on a GPU if there is one."""

    pip_extra = "transformers"
    python_packages = ("torch", "transformers")
    profiles: ClassVar = {"smollm2": SMOLLM2, "tiny-random": TINY}

    class Config(Defaults):
        """Settings of a component."""

        model: str = Field(
            description='A model\'s folder, a GGUF file, a hub id, or a known name such as "smollm2".',
            json_schema_extra={"format": "path-or-name"},
        )
        context_length: int = Field(
            2048, ge=64, description="Maximum number of tokens of one conversation, including the answer."
        )
        cache_tokens: int | None = Field(
            None,
            ge=64,
            description="Maximum number of tokens of all conversations; null: 4 contexts, on a GPU as many as fit.",
        )
        device: str = Field("auto", description='"cpu", "cuda", "cuda:1" ...; "auto": a GPU if there is one.')
        dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="Type of the weights.")
        threads: int | None = Field(
            None, ge=1, description="Number of CPU threads of the process; null: half of the CPUs."
        )

    @classmethod
    def plan(cls, config: Any) -> tuple[Hashable, Callable[[], Engine]]:
        """See `LanguageModel.plan`."""
        settings = config.model_dump(include={"model", "context_length", "cache_tokens", "device", "dtype", "threads"})
        return tuple(settings.values()), lambda: _transformers(settings)

    @classmethod
    def gpu_bytes(cls, config: Any) -> int:
        """See `LanguageModel.gpu_bytes`. That of a model of a hub is not known."""
        if not transformers_uses_gpu(config.device):
            return 0
        return folder_bytes(Path(transformers_source(config.model)), config.cache_tokens or 4 * config.context_length)

    @classmethod
    def engine_on(cls, config: Any, device: str) -> Engine:
        """See `LanguageModel.engine_on`."""
        settings = config.model_dump(include={"model", "context_length", "cache_tokens", "dtype", "threads"})
        settings["cache_tokens"] = config.cache_tokens or 4 * config.context_length
        return _transformers(settings | {"device": device if device.startswith("cuda:") else "cpu"})


def _transformers(settings: dict[str, Any]) -> Engine:
    from lanemesh_services.llm.transformers import TransformersEngine
    from lanemesh_services.llm.transformers_model import TransformersOptions

    options = TransformersOptions(**{**settings, "model": transformers_source(settings["model"])})
    return TransformersEngine.load(options)


def transformers_source(model: str) -> str:
    """What transformers loads for a component's `model`: a folder, prepared from a GGUF file if necessary, or a hub id."""
    from lanemesh_services.llm.prepared import prepared
    from lanemesh_services.llm.tiny import tiny_folder

    if model == models.TINY_RANDOM:
        return str(tiny_folder())
    if model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).exists():
        return model
    path = models.resolve(model)
    return str(prepared(path) if path.is_file() else path)


class Call(BaseModel):
    """A call of a tool in a script."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Name of the tool.")
    arguments: dict[str, Any] | str = Field(
        default={}, description="Its arguments: an object, or a text that is sent as it is, such as broken JSON."
    )


class Turn(BaseModel):
    """A turn of a script that calls tools."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(default="", description="Text of the model before its tool calls.")
    tool_calls: list[Call] = Field(default=[], description="Tool calls of the turn.")
    fail: str = Field(default="", description="If set, the model fails with this message after the text and the calls.")


class LlmScripted(LanguageModel):
    """A model that replays its script, the same every time; without a script, it echoes the question."""

    class Config(Defaults):
        """Settings of a component."""

        script: list[str | Turn] = Field(
            default=[], description="Its turns, in order; the last one is repeated. A text, or text and tool_calls."
        )
        delay: float = Field(0.0, ge=0, le=60, description="Seconds before each word.")
        tools: bool = Field(True, description="Whether it takes tools; if not, it rejects requests with tools.")

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """Nothing is loaded: the model has only its script."""
        from lanemesh_services.llm.scripted import ScriptedCall, ScriptedEngine, ScriptedTurn

        turns = [Turn(text=turn) if isinstance(turn, str) else turn for turn in config.script]
        script = [
            ScriptedTurn(
                turn.text, tuple(ScriptedCall(call.name, call.arguments) for call in turn.tool_calls), turn.fail
            )
            for turn in turns
        ]
        return Loaded(ScriptedEngine(script, config.delay, tools=config.tools), None)

    @classmethod
    async def unload(cls, resource: Loaded) -> None:
        """Ends every generation."""
        assert resource.engine is not None
        await resource.engine.close()
