"""Searches the web for questions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from lanemesh import Answer, Context, Document, In, Node, Out, Question
from pydantic import Field, field_validator

from lanemesh_services.search.errors import bad_setting, no_query
from lanemesh_services.search.hosted_embedding import ServerConfig
from lanemesh_services.search.json_api import JsonApi
from lanemesh_services.search.web_engines import ENGINES, Wanted
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.hosted_errors import Server, broken, key_missing
from lanemesh_services.shared.hosted_settings import checked_url

MAX_RESULTS = 50
"""Most results of a search."""
MAX_QUERY = 2_000
"""Most characters of a question that are searched for."""

Domains = Annotated[list[Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9.-]+$")]], Field(max_length=100)]


class WebSearch(Node):
    """Searches the web for each question, by one of several engines: Exa, Tavily, Brave, or a SearXNG server of your own.

    The results are documents, and together an answer; the question passes on with them. `web_read` reads the pages behind them.
    """

    pip_extra = "web-search"
    python_packages = ("httpx2",)
    concurrency = 4
    profiles: ClassVar = {name: {"engine": name} for name in ENGINES}

    class Config(ServerConfig):
        """Settings of the search."""

        engine: Literal["exa", "tavily", "brave", "searxng"] = Field("exa", description="The search engine.")
        base_url: str | None = Field(
            None,
            json_schema_extra={"format": "remote-url"},
            description="Address of the engine; null: its usual one. A SearXNG server has no usual one.",
        )
        results: int = Field(5, ge=1, le=MAX_RESULTS, description="Most results of a search.")
        characters: int = Field(1_000, ge=100, le=20_000, description="Most characters of the content of a result.")
        include_domains: Domains = Field(default=[], description="Only results of these domains.")
        exclude_domains: Domains = Field(default=[], description="No results of these domains.")

        @field_validator("base_url")
        @classmethod
        def _is_an_address(cls, url: str | None) -> str | None:
            return checked_url(url) if url is not None else None

    questions: Annotated[In[Question], "What is searched for."]
    documents: Annotated[Out[Document], "Each result: its content, and its address as the source."]
    answers: Annotated[Out[Answer], "All results of a question as one text."]
    asked: Annotated[Out[Question], "The questions, with their results as documents."]

    @classmethod
    async def load(cls, config: Any) -> tuple[JsonApi, Server]:
        """Makes the client. Raises LanemeshError if httpx2, the key or the address is missing."""
        engine = ENGINES[config.engine]
        address = config.base_url or engine.base_url
        if not address:
            hint = 'Set it to the address of the server, such as "http://127.0.0.1:8888"'
            raise bad_setting(cls.provider, "base_url", f"is missing: {engine.name} has no usual address", hint)
        server = Server(engine.name, address, "web search", config.key)
        if not config.key and engine.variable and address == engine.base_url:
            raise key_missing(cls.provider, server, engine.variable)
        try:
            return config.api(server, engine.header), server
        except ImportError as error:
            raise import_failed("httpx2", cls.provider, cls.pip_extra, error) from error

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the connections."""
        await resource[0].close()

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Searches for one question."""
        config, (api, server) = self.config, self.resource
        query = " ".join(self.questions.text.split())[:MAX_QUERY]
        if not query:
            raise no_query(context.component)
        wanted = Wanted(query, config.results, config.characters, config.include_domains, config.exclude_domains)
        engine = ENGINES[config.engine]
        path, body = engine.request(wanted)
        answer = await (api.get(path) if body is None else api.post(path, body))
        found = engine.documents(answer, wanted)
        if found is None:
            raise broken(server, "it has no list of results")
        for document in found:
            yield "documents", document
        yield "answers", Answer("\n\n".join(map(_shown, found)) or "No results.", finish_reason="stop")
        yield "asked", replace(self.questions, documents=(*self.questions.documents, *found))


def _shown(document: Document) -> str:
    title = document.metadata.get("title", document.source)
    return f"{title}\n{document.source}\n{document.content}".strip()
