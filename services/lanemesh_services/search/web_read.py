"""Reads pages of the web as documents."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Annotated, Any

from lanemesh import Context, Document, In, Json, Media, Node, Out, Question
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.search.errors import PageUnreadable, bad_setting, no_address, page_unreadable
from lanemesh_services.shared.certificates import certificates
from lanemesh_services.shared.errors import import_failed

MAX_URL = 8_192
"""Longest address in characters."""
_NEVER = r"\s<>\"'\\^`{|}"
"""Characters that no address has."""
_WIDE = r"\u201c\u201d\u3000-\u3004\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
"""Punctuation of Chinese and Japanese, such as 。、，）」, which ends an address in a text, where no space follows it."""
_URL = re.compile(rf"https?://[^{_NEVER}]+", re.IGNORECASE)
_URL_IN_TEXT = re.compile(rf"https?://[^{_NEVER}{_WIDE}]+", re.IGNORECASE)
_ENDS = ".,;:!?*_"
"""Characters that follow an address in a text, and are not of it."""
_BRACKETS = {")": "(", "]": "["}
"""Closing brackets, which are of an address if it has their opening ones: .../Mercury_(planet)."""


class WebRead(Node):
    """Reads the pages whose addresses are in its items, each as a document with the page's text.

    Only public hosts are read, and what their robots.txt permits; the connection goes to the address that was checked, also after a
    redirect. A file that is not a page, such as a PDF, leaves as it is, for `parse`.
    """

    pip_extra = "web-search"
    python_packages = ("httpx2", "markitdown", "protego")
    separate_inputs = True
    concurrency = 4

    class Config(BaseModel):
        """Settings of the reader."""

        hosts: list[str] = Field(
            default=["*"], min_length=1, description='Hosts that may be read, such as "example.com" or "*.example.com".'
        )
        private: bool = Field(
            False,
            description="Hosts may have private and loopback addresses. The node server has to permit that too: "
            "`lanemesh node --allow hosts` or `--allow host:NAME`.",
        )
        robots: bool = Field(True, description="Pages that the robots.txt of their host forbids are not read.")
        pages: int = Field(10, ge=1, le=100, description="Most pages of one item; further addresses fail it.")
        timeout: float = Field(30, gt=0, le=600, description="Time limit of a page with its redirects, in seconds.")
        max_bytes: int = Field(5_000_000, ge=1_000, le=100_000_000, description="Largest page in bytes.")
        characters: int = Field(
            200_000,
            ge=100,
            le=10_000_000,
            description="Most characters of a page's text; more of it is cut off, with a warning.",
        )

    questions: Annotated[In[Question | None], "Questions with addresses in their texts."] = None
    documents: Annotated[In[Document | None], "Documents whose sources are addresses, such as those of a search."] = (
        None
    )
    text: Annotated[In[str | None], "Texts with addresses."] = None
    data: Annotated[In[Json], 'An address, a list of addresses, or an object with "url".'] = None
    pages: Annotated[Out[Document], "Each page: its text, and its address as the source."]
    asked: Annotated[Out[Question], "The questions, with their pages as documents."]

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Prepares the reader. Raises LanemeshError if a library is missing."""

        def load() -> Any:
            try:
                import markitdown  # noqa: F401

                from lanemesh_services.search.page_reader import PageReader

                verify = certificates()
            except ImportError as error:
                raise import_failed("httpx2", cls.provider, cls.pip_extra, error) from error
            limits = config.model_dump(include={"timeout", "max_bytes", "robots", "hosts"})
            return PageReader(verify, **limits)

        return await in_thread(load)

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Reads the pages of one item."""
        addresses = list(dict.fromkeys(self._addresses(context)))
        if len(addresses) > self.config.pages:
            why = f"allows {self.config.pages} pages of an item, and this one has {len(addresses)} addresses"
            raise bad_setting(context.component, "pages", why, "Raise it, or divide the item")
        read: list[Document] = []
        failed: list[PageUnreadable] = []
        for done, url in enumerate(addresses, start=1):
            try:
                document = await self._page(context, url)
            except PageUnreadable as error:
                failed.append(error)
                continue
            read.append(document)
            yield "pages", document
            if len(addresses) > 1:
                context.progress(done, len(addresses), "pages read")
        if failed and not read:
            raise failed[0]
        for failure in failed:
            context.log.warning("%s", failure)
        if self.questions is not None:
            yield "asked", replace(self.questions, documents=(*self.questions.documents, *read))

    async def _page(self, context: Context, url: str) -> Document:
        from lanemesh_services.search.page_text import is_text, text_of

        if len(url) > MAX_URL:
            raise page_unreadable(url, f"its address has more than {MAX_URL:,} characters", "Use a shorter one")
        allowed = context.permissions.allows_host
        page = await self.resource.fetch(url, lambda host, port: self.config.private and allowed(host, port))
        if not is_text(page.mime_type):
            return Document("", source=page.url, file=Media(page.mime_type, page.content))
        found = await in_thread(text_of, url, page.content, page.mime_type, page.charset)
        text = found.text
        if len(text) > self.config.characters:
            context.log.warning("the text of %.200s has %d characters, and was cut", url, len(text))
            text = text[: self.config.characters]
        known = {"title": found.title, "language": found.language, "type": page.mime_type}
        return Document(text, source=page.url, metadata={key: value for key, value in known.items() if value})

    def _addresses(self, context: Context) -> Iterator[str]:
        """The addresses of an item, in their order."""
        found = []
        if self.questions is not None:
            found += addresses_in(self.questions.text)
        if self.text is not None:
            found += addresses_in(self.text)
        if self.documents is not None:
            source = self.documents.source
            found += [source] if _URL.fullmatch(source) else addresses_in(self.documents.content)
        if self.data is not None:
            found += _of_data(self.data)
        if not found:
            raise no_address(context.component)
        return iter(found)


def addresses_in(text: str) -> list[str]:
    """The addresses of pages in a text, without the punctuation after them."""
    return [_trimmed(match.group()) for match in _URL_IN_TEXT.finditer(text)]


def _trimmed(url: str) -> str:
    """An address without the punctuation after it."""
    missing = {closing: url.count(closing) - url.count(opening) for closing, opening in _BRACKETS.items()}
    end = len(url)
    while end and (url[end - 1] in _ENDS or missing.get(url[end - 1], 0) > 0):
        end -= 1
        if url[end] in missing:
            missing[url[end]] -= 1
    return url[:end]


def _of_data(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = value.get("url")
    values = value if isinstance(value, list | tuple) else [value]
    return [one for one in values if isinstance(one, str) and _URL.fullmatch(one)]
