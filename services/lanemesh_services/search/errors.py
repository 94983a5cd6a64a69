"""The errors of the search service. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Document, Fault, LanemeshError


class TextUnusable(LanemeshError):
    """A document or a question has no text that can be embedded or searched for."""


class StoreFailed(LanemeshError):
    """A store of documents cannot be opened, read or written."""


class PageUnreadable(LanemeshError):
    """A page of the web cannot be fetched, or has no text."""


def name_of(document: Document) -> str:
    """A document as errors name it: by its source and the number of its chunk, or else its id."""
    name = document.source or document.id
    if not name:
        return "a document without a source"
    chunk = f" (chunk {document.chunk_index})" if document.chunk_index is not None else ""
    return f"the document {name:.300}{chunk}"


def no_text(component: str, what: str, hint: str) -> TextUnusable:
    """Something to be embedded is empty; `what` names it."""
    message = f"{component}: {what} has no text to embed. {hint}"
    return TextUnusable(_fault(Code.INVALID_ARGUMENT, "no-text", message, component=component))


def text_too_long(component: str, what: str, limit: str) -> TextUnusable:
    """A text is longer than the model reads, and the component does not cut."""
    message = (
        f"{component}: {what} has more than the {limit} that the model reads. Split it with a splitter before the "
        'embedding, or set too_long to "cut"'
    )
    return TextUnusable(_fault(Code.INVALID_ARGUMENT, "text-too-long", message, component=component))


def no_embedding(component: str, what: str) -> TextUnusable:
    """Something that is stored or searched for has no embedding."""
    message = (
        f"{component}: {what} has no embedding. Connect an embedding node, such as embedding_transformer, before the store, or "
        'set search to "text" where the store has a text search'
    )
    return TextUnusable(_fault(Code.INVALID_ARGUMENT, "no-embedding", message, component=component))


def no_source(component: str) -> TextUnusable:
    """A document is marked as deleted and has no source."""
    message = (
        f"{component}: a document is marked as deleted, but has no source. Set its source to what shall be removed"
    )
    return TextUnusable(_fault(Code.INVALID_ARGUMENT, "no-source", message, component=component))


def other_dimension(where: str, collection: str, has: int, got: int) -> StoreFailed:
    """An embedding has not the dimension of its collection."""
    message = (
        f"{where}: the collection {collection} has embeddings of {has} numbers, and this one has {got}. Use the embedding model "
        "that the collection was filled with, or another collection"
    )
    details = {"collection": collection, "has": str(has), "got": str(got)}
    return StoreFailed(_fault(Code.INVALID_ARGUMENT, "other-dimension", message, **details))


def too_many_sources(component: str, sources: int, runs: int) -> LanemeshError:
    """More sources are to be replaced than are remembered."""
    message = (
        f"{component}: replace_source is for at most {sources:,} sources of a run, and {runs} runs at once. Divide the documents "
        "among several runs, or delete the sources first and set replace_source to false"
    )
    return LanemeshError(_fault(Code.RESOURCE_EXHAUSTED, "too-many-sources", message, component=component))


def store_unusable(where: str, why: object, hint: str) -> StoreFailed:
    """A store cannot be opened; `where` names it without secrets."""
    message = f"The store {where} cannot be used: {_line(why)}. {hint}"
    return StoreFailed(_fault(Code.FAILED_PRECONDITION, "store-unusable", message, store=where))


def store_away(where: str, why: object) -> StoreFailed:
    """The server of a store does not answer."""
    message = f"The store {where} cannot be reached: {_line(why)}. Check its address, the network, and that it runs"
    return StoreFailed(_fault(Code.UNAVAILABLE, "store-unreachable", message, store=where))


def store_failed(where: str, why: object) -> StoreFailed:
    """A store rejected a request, or failed."""
    message = f"The store {where} failed: {_line(why)}. Check its log, or retry"
    return StoreFailed(_fault(Code.UNAVAILABLE, "store-failed", message, store=where))


def bad_setting(component: str, setting: str, why: str, hint: str) -> LanemeshError:
    """A setting of a component cannot be used."""
    message = f"{component}: config.{setting} {why}. {hint}"
    return LanemeshError(_fault(Code.INVALID_ARGUMENT, "bad-search-setting", message))


def no_query(component: str) -> TextUnusable:
    """A question that is searched for is empty."""
    message = f"{component}: a question has no text to search for. Ask with a text"
    return TextUnusable(_fault(Code.INVALID_ARGUMENT, "no-text", message, component=component))


def no_address(component: str) -> TextUnusable:
    """An item names no page."""
    message = f"{component}: an item has no address of a page. Send one with http:// or https://"
    return TextUnusable(_fault(Code.INVALID_ARGUMENT, "no-text", message, component=component))


def page_unreadable(url: str, why: object, hint: str) -> PageUnreadable:
    """A page cannot be read."""
    message = f"The page {url:.300} cannot be read: {_line(why)}. {hint}"
    return PageUnreadable(_fault(Code.UNAVAILABLE, "page-unreadable", message, url=url[:1000]))


def page_refused(url: str, why: object, hint: str) -> PageUnreadable:
    """A page must not be read."""
    message = f"The page {url:.300} is not read: {_line(why)}. {hint}"
    return PageUnreadable(_fault(Code.PERMISSION_DENIED, "page-not-allowed", message, url=url[:1000]))


def _line(why: object) -> str:
    """An error of a library on one line, shortened."""
    lines = [line.strip() for line in str(why).splitlines() if line.strip()]
    text = "; ".join(" ".join(line.split()) for line in lines) or type(why).__name__
    return (f"{text[:300]}..." if len(text) > 300 else text).rstrip(".?")


def _fault(code: Code, reason: str, message: str, **details: str) -> Fault:
    return Fault(code=code, reason=reason, message=message, details=details)
