"""The requests and answers of search engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from lanemesh import Document

MAX_SCORE = 1e300
"""Greatest score; JSON may have integers that no double has, and NaN."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search."""

    query: str
    results: int
    """Most results."""
    characters: int
    """Most characters of the content of a result."""
    include: Sequence[str] = ()
    """Only results of these domains."""
    exclude: Sequence[str] = ()
    """No results of these domains."""

    @property
    def with_sites(self) -> str:
        """The query with the domains in the words that most engines know."""
        included = " OR ".join(f"site:{domain}" for domain in self.include)
        excluded = " ".join(f"-site:{domain}" for domain in self.exclude)
        return " ".join(filter(None, (self.query, included, excluded)))


@dataclass(frozen=True, slots=True)
class WebEngine:
    """A search engine."""

    name: str
    base_url: str
    """Its usual address; empty: every operator has an own one."""
    variable: str
    """The variable that usually has its key; empty: it needs none."""
    header: str
    """The header that carries the key."""
    request: Callable[[Wanted], tuple[str, Any]]
    """Path and JSON body of a request; None as the body: a GET."""
    results: Callable[[Any], Any]
    """The list of results in an answer."""
    fields: tuple[str, str, str, str]
    """Names of the title, the content, the date and the score in a result."""

    def documents(self, answer: Any, wanted: Wanted) -> list[Document] | None:
        """The results of an answer; None if it has another form."""
        try:
            results = self.results(answer)
        except (KeyError, TypeError, AttributeError):
            return None
        if not isinstance(results, list):
            return None
        return [self._document(result, wanted) for result in results if isinstance(result, dict)][: wanted.results]

    def _document(self, result: dict[str, Any], wanted: Wanted) -> Document:
        title, content, date, score = (result.get(name) for name in self.fields)
        if isinstance(content, list):
            content = "\n".join(map(str, content))
        known = {"title": title, "published": date}
        return Document(
            str(content or "")[: wanted.characters],
            source=str(result.get("url") or ""),
            score=float(score) if isinstance(score, int | float) and abs(score) <= MAX_SCORE else None,
            metadata={key: str(value) for key, value in known.items() if value},
        )


def _exa(wanted: Wanted) -> tuple[str, Any]:
    body: dict[str, Any] = {
        "query": wanted.query,
        "numResults": wanted.results,
        "contents": {"highlights": {"maxCharacters": wanted.characters}},
    }
    if wanted.include:
        body["includeDomains"] = list(wanted.include)
    if wanted.exclude:
        body["excludeDomains"] = list(wanted.exclude)
    return "/search", body


def _tavily(wanted: Wanted) -> tuple[str, Any]:
    body = {"query": wanted.query, "max_results": min(wanted.results, 20)}
    return "/search", {**body, "include_domains": list(wanted.include), "exclude_domains": list(wanted.exclude)}


def _brave(wanted: Wanted) -> tuple[str, Any]:
    asked = urlencode({"q": wanted.with_sites, "count": min(wanted.results, 20)})
    return f"/res/v1/web/search?{asked}", None


def _searxng(wanted: Wanted) -> tuple[str, Any]:
    return f"/search?{urlencode({'q': wanted.with_sites, 'format': 'json'})}", None


ENGINES = {
    engine.name: engine
    for engine in (
        WebEngine(
            "exa", "https://api.exa.ai", "EXA_API_KEY", "x-api-key", _exa, lambda answer: answer["results"],
            ("title", "highlights", "publishedDate", "score"),
        ),
        WebEngine(
            "tavily", "https://api.tavily.com", "TAVILY_API_KEY", "Authorization", _tavily, lambda answer: answer["results"],
            ("title", "content", "published_date", "score"),
        ),
        WebEngine(
            "brave", "https://api.search.brave.com", "BRAVE_API_KEY", "x-subscription-token", _brave,
            lambda answer: (answer.get("web") or {"results": []})["results"], ("title", "description", "page_age", "score"),
        ),
        WebEngine(
            "searxng", "", "", "Authorization", _searxng, lambda answer: answer["results"],
            ("title", "content", "publishedDate", "score"),
        ),
    )
}  # fmt: skip
"""The search engines by their names."""
