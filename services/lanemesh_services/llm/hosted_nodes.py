"""The node types of models behind HTTP. Their libraries are imported when a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from lanemesh import ChatRequest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from lanemesh_services.llm.engine import MAX_STOPS, Engine
from lanemesh_services.llm.nodes import LanguageModel, StopText
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.hosted_settings import checked_key, checked_url

_SETTINGS = ("temperature", "top_p", "top_k", "max_tokens", "seed")


class Prices(BaseModel):
    """What a model costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0, description="US dollars for a million tokens read.")
    output: float = Field(ge=0, description="US dollars for a million tokens written.")
    cached_input: float | None = Field(
        None,
        ge=0,
        description="US dollars for a million tokens read from the server's cache; null: as other tokens read.",
    )


class HostedConfig(BaseModel):
    """Settings that all models behind HTTP have. A setting of sampling that is null is left to the server."""

    model: str = Field(min_length=1, description="Name of the model at the server.")
    api_key: SecretStr | None = Field(
        None, description='Key of the server, from a variable, such as "${API_KEY}". Null: none is sent.'
    )
    apikey: SecretStr | None = Field(None, description="The same as api_key; documents of RocketRide call it so.")
    temperature: float | None = Field(
        None, ge=0, le=2, description="0: the most probable tokens; null: as the server does."
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="Sample only from the most probable tokens with this total probability."
    )
    top_k: int | None = Field(None, ge=0, description="Sample only from this number of most probable tokens.")
    max_tokens: int | None = Field(None, ge=1, description="Maximum number of tokens of one answer.")
    outputTokens: int | None = Field(
        None, ge=1, description="The same as max_tokens, and before it; documents of RocketRide call it so."
    )
    modelTotalTokens: int | None = Field(
        None, ge=1, description="Accepted from documents of RocketRide, without effect: the server knows its limit."
    )
    stop: list[StopText] = Field(
        default=[], max_length=MAX_STOPS, description="Texts that end an answer; they are not part of it."
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the random generator.")
    timeout: float = Field(
        120.0, gt=0, le=3600, description="Seconds without a part of the answer after which it fails."
    )
    retries: int = Field(
        2, ge=0, le=10, description="Maximum number of retries, all before the first part of an answer."
    )
    retry_seconds: float = Field(30.0, ge=0, le=3600, description="Maximum seconds of all pauses before retries.")
    concurrency: int = Field(64, ge=1, le=1024, description="Maximum number of concurrent requests; further ones wait.")
    price: Prices | None = Field(None, description="What the model costs, for the cost of answers; null: unknown.")
    extra: dict[str, Any] = Field(
        default={}, description="Further fields of each request, as the server's API defines them."
    )

    _fits_in_a_header = field_validator("api_key", "apikey")(checked_key)

    def apply(self, request: ChatRequest) -> ChatRequest:
        """A request with the component's settings where it has none."""
        given = request.sampling
        own = {name: getattr(self, name) for name in _SETTINGS}
        own["max_tokens"] = self.outputTokens or self.max_tokens
        missing = {name: value for name, value in own.items() if getattr(given, name) is None}
        return replace(request, sampling=replace(given, **missing, stop=given.stop or tuple(self.stop)))


class HostedModel(LanguageModel):
    """Base of all models behind HTTP."""

    library: ClassVar[str]
    """The Python library of the API."""
    own_url: ClassVar[str]
    """Address of the server of the API's maker, which wants a key."""
    variable: ClassVar[str]
    """The variable that usually has the key."""

    @classmethod
    def engine_class(cls, config: Any) -> type[Any]:
        """The engine of a config: a subclass of `HostedEngine`. Imports it."""
        raise NotImplementedError

    @classmethod
    def plan(cls, config: Any) -> tuple[Hashable, Callable[[], Engine]]:
        """See `LanguageModel.plan`."""
        given = config.api_key or config.apikey
        key = given.get_secret_value() if given is not None else ""
        of_requests = {*_SETTINGS, "stop", "outputTokens", "modelTotalTokens"}
        return (config.model_dump_json(exclude=of_requests), key), lambda: cls._engine(config, key)

    @classmethod
    def _engine(cls, config: Any, key: str) -> Engine:
        from lanemesh_services.llm.hosted import HostedOptions, Price
        from lanemesh_services.shared.hosted_errors import Server, key_missing

        if not key and config.base_url == cls.own_url:
            raise key_missing(cls.provider, Server("", config.base_url, config.model), cls.variable)
        limits = config.model_dump(include={"timeout", "retries", "retry_seconds", "concurrency"})
        options = HostedOptions(
            model=config.model,
            base_url=config.base_url,
            api_key=key,
            price=Price(**config.price.model_dump()) if config.price is not None else None,
            extra=config.extra,
            **limits,
        )
        try:
            return cls.engine_class(config)(options)  # type: ignore[no-any-return]
        except ImportError as error:
            raise import_failed(cls.library, cls.provider, "models", error) from error


class LlmOpenai(HostedModel):
    """A model of OpenAI, or of any server that speaks its API: vLLM, Ollama, llama.cpp, OpenRouter and others."""

    pip_extra = "models"
    python_packages = ("openai",)
    library = "openai"
    own_url = "https://api.openai.com/v1"
    variable = "OPENAI_API_KEY"
    profiles: ClassVar = {"openai-4o": {"model": "gpt-4o"}, "openai-4o-mini": {"model": "gpt-4o-mini"}}

    class Config(HostedConfig):
        """Settings of a component."""

        api: Literal["chat", "responses"] = Field(
            "chat", description='"chat": Chat Completions; "responses": Responses.'
        )
        base_url: Annotated[str, Field(json_schema_extra={"format": "remote-url"})] = Field(
            "https://api.openai.com/v1", description="Address of the server, with the version in its path."
        )

        _checked = field_validator("base_url")(checked_url)

    @classmethod
    def engine_class(cls, config: Any) -> type[Any]:
        """See `HostedModel.engine_class`."""
        from lanemesh_services.llm.openai import ChatCompletions, Responses

        return Responses if config.api == "responses" else ChatCompletions


class LlmAnthropic(HostedModel):
    """A model of Anthropic, or of another server that speaks its Messages API."""

    pip_extra = "models"
    python_packages = ("anthropic",)
    library = "anthropic"
    own_url = "https://api.anthropic.com"
    variable = "ANTHROPIC_API_KEY"
    profiles: ClassVar = {"claude": {"model": "claude-sonnet-4-5"}}

    class Config(HostedConfig):
        """Settings of a component."""

        max_tokens: int | None = Field(4096, ge=1, description="Maximum number of tokens of one answer.")
        base_url: Annotated[str, Field(json_schema_extra={"format": "remote-url"})] = Field(
            "https://api.anthropic.com", description="Address of the server."
        )

        _checked = field_validator("base_url")(checked_url)

    @classmethod
    def engine_class(cls, config: Any) -> type[Any]:
        """See `HostedModel.engine_class`."""
        from lanemesh_services.llm.anthropic import AnthropicEngine

        return AnthropicEngine


class LlmGemini(HostedModel):
    """A model of Google behind the Gemini API."""

    pip_extra = "models"
    python_packages = ("google.genai",)
    library = "google-genai"
    own_url = "https://generativelanguage.googleapis.com"
    variable = "GEMINI_API_KEY"

    class Config(HostedConfig):
        """Settings of a component."""

        base_url: Annotated[str, Field(json_schema_extra={"format": "remote-url"})] = Field(
            "https://generativelanguage.googleapis.com", description="Address of the server."
        )

        _checked = field_validator("base_url")(checked_url)

    @classmethod
    def engine_class(cls, config: Any) -> type[Any]:
        """See `HostedModel.engine_class`."""
        from lanemesh_services.llm.gemini import GeminiEngine

        return GeminiEngine
