"""Web search by Exa: as a node on lanes, and as a tool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from lanemesh import Answer, Context, Document, In, Node, Out, Question, ToolNode, tool
from lanemesh.extend import CallFailed, in_thread, not_permitted
from pydantic import BaseModel, Field, SecretStr, model_validator

from lanemesh_services.tools.errors import bad_setting, library_missing

EXA = "https://api.exa.ai"
MAX_RESULTS = 50
"""Most results of a search."""
_MAX_ERROR = 500

Domains = Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=100)]


class SearchSettings(BaseModel):
    """Settings of a search."""

    api_key: SecretStr | None = Field(None, description='Key of Exa, such as "${EXA_API_KEY}".')
    apikey: SecretStr | None = Field(None, description="The same as api_key; documents of RocketRide call it so.")
    base_url: str = Field(
        EXA,
        json_schema_extra={"format": "remote-url"},
        description="Address of the service. The node server has to permit another one than Exa's: `lanemesh node --allow "
        "host:NAME:PORT`.",
    )
    results: int = Field(
        5, ge=1, le=MAX_RESULTS, description="Most results of a search, unless the caller asks for fewer."
    )
    characters: int = Field(1_000, ge=100, le=20_000, description="Most characters of the content of a result.")
    include_domains: Domains = Field(default=[], description="Only results of these domains.")
    exclude_domains: Domains = Field(default=[], description="No results of these domains.")
    timeout: float = Field(30, gt=0, le=600, description="Time limit of a search, in seconds.")


class SearchExa(Node):
    """Searches the web by Exa for each question: the results are documents, and together an answer."""

    pip_extra = "tools"
    python_packages = ("exa_py",)
    profiles: ClassVar = {"default": {}}

    class Config(SearchSettings):
        """Settings of the search."""

        type: Literal["auto", "neural", "fast", "deep", "keyword"] = Field("auto", description="How Exa searches.")
        includeHighlights: bool = Field(
            True,
            description="The content of a result is the parts that fit the question; false: the beginning of its text.",
        )
        numResults: int | None = Field(
            None, ge=1, le=MAX_RESULTS, description="The same as results; documents of RocketRide call it so."
        )
        highlightChars: int | None = Field(
            None, ge=100, le=20_000, description="The same as characters; documents of RocketRide call it so."
        )

        @model_validator(mode="after")
        def _of_rocketride(self) -> Any:
            given = {"results": self.numResults, "characters": self.highlightChars}
            for name, value in given.items():
                if value is not None:
                    object.__setattr__(self, name, value)
            return self

    questions: Annotated[In[Question], "What is searched for."]
    documents: Annotated[Out[Document], "Each result: its content, and its address as the source."]
    answers: Annotated[Out[Answer], "All results of a question as one text."]

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Makes the client. Raises LanemeshError if exa-py is not installed, or the key is empty."""
        return await _client(cls.provider, config)

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the client."""
        await resource.aclose()

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Searches for one question."""
        found = await _found(self.resource, self.config, context, self.questions.text, self.config.results)
        for document in found:
            yield "documents", document
        yield "answers", Answer(text="\n\n".join(map(_shown, found)) or "No results.", finish_reason="stop")


class ToolSearch(ToolNode):
    """Offers a search of the web by Exa as a tool."""

    pip_extra = "tools"
    python_packages = ("exa_py",)

    class Config(SearchSettings):
        """Settings of the search."""

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Makes the client. Raises LanemeshError if exa-py is not installed, or the key is empty."""
        return await _client(cls.provider, config)

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the client."""
        await resource.aclose()

    @tool
    async def web_search(
        self,
        query: Annotated[str, Field(min_length=1, max_length=2_000)],
        context: Context,
        limit: Annotated[int, Field(ge=1, le=MAX_RESULTS)] | None = None,
    ) -> list[Document]:
        """Searches the web, and returns pages with the parts that fit the query best.

        Args:
            query: What to search for, in words.
            limit: Most results.
        """
        most = min(limit or self.config.results, self.config.results)
        return await _found(self.resource, self.config, context, query, most)


async def _client(provider: str, config: Any) -> Any:
    given = config.api_key or config.apikey
    key = given.get_secret_value() if given is not None else ""
    if not key:
        raise bad_setting(
            provider, "api_key", "is missing", "Set it to a variable that has the key, such as ${EXA_API_KEY}."
        )

    def make() -> Any:
        try:
            from exa_py import AsyncExa
        except ImportError as error:
            raise library_missing("exa-py", provider, error) from None
        return AsyncExa(key, config.base_url.rstrip("/"), timeout=config.timeout)

    return await in_thread(make)


async def _found(client: Any, config: Any, context: Context, query: str, limit: int) -> list[Document]:
    """The results of a search. Raises CallFailed ("search-failed") if it fails."""
    _check(config.base_url, context)
    kind = "highlights" if getattr(config, "includeHighlights", True) else "text"
    try:
        async with asyncio.timeout(config.timeout):
            response = await client.search(
                query,
                num_results=limit,
                type=getattr(config, "type", "auto"),
                contents={kind: {"max_characters": config.characters}},
                include_domains=list(config.include_domains) or None,
                exclude_domains=list(config.exclude_domains) or None,
            )
    except TimeoutError:
        raise CallFailed("tool-timeout", f"the search did not end within {config.timeout:g} s") from None
    except Exception as error:  # of the library: ValueError for an answer with an error, and those of its HTTP client
        text = f"{type(error).__name__}: {error}"
        raise CallFailed("search-failed", f"the search failed: {text[:_MAX_ERROR]}") from None
    return [_document(result, config.characters) for result in response.results[:limit]]


def _check(base_url: str, context: Context) -> None:
    """Raises LanemeshError if the node server does not permit a connection to another host than Exa's."""
    if base_url.rstrip("/") == EXA:
        return
    try:
        address = urlsplit(base_url)
        host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    except ValueError as error:
        raise bad_setting(context.component, "base_url", f"is not a URL: {error}", "Correct it.") from None
    if not context.permissions.allows_host(host, port):
        raise not_permitted(context.component, f"connect to {host}:{port}", f"host:{host}:{port}")


def _document(result: Any, characters: int) -> Document:
    content = "\n".join(result.highlights or []) or result.text or result.summary or ""
    known = {"title": result.title, "author": result.author, "published": result.published_date}
    return Document(
        str(content)[:characters],
        source=str(result.url or ""),
        score=result.score,
        metadata={key: str(value) for key, value in known.items() if value},
    )


def _shown(document: Document) -> str:
    title = document.metadata.get("title", document.source)
    return f"{title}\n{document.source}\n{document.content}".strip()
