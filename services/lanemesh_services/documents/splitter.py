"""`splitter`: texts and documents into chunks."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from lanemesh import Context, Document, In, Inputs, Node, Out, Outputs
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field, model_validator

from lanemesh_services.documents.errors import bad_tokenizer, too_many_open
from lanemesh_services.documents.splitting import separators
from lanemesh_services.documents.splitting.chunker import Chunker, Rules
from lanemesh_services.documents.splitting.headings import Headings
from lanemesh_services.documents.splitting.measures import Characters, Measure, ModelTokens, Words
from lanemesh_services.shared.unread import text_of

MAX_OPEN = 1_000
"""Most texts that arrive at the same time."""
MAX_SOURCES = 10_000
"""Most sources whose chunks are counted; the count of the one that was longest unused is forgotten."""
LONG_TEXT = 50_000
"""A text of more characters is split in a worker thread; with a slow measure, every text is."""

_SPLITTERS = {
    "RecursiveCharacterTextSplitter": "recursive",
    "CharacterTextSplitter": "recursive",
    "TokenTextSplitter": "recursive",
    "SentenceTransformersTokenTextSplitter": "recursive",
    "NLTKTextSplitter": "sentences",
    "SpacyTextSplitter": "sentences",
    "MarkdownTextSplitter": "markdown",
    "PythonCodeTextSplitter": "code",
}
"""The mode for each class of langchain-text-splitters: where it cuts. Sizes are in characters for all of them."""


class Splitter(Node):
    """Splits texts and documents into chunks, each as soon as it is certain.

    It cuts at the strongest place within the size of a chunk: between paragraphs, lines, sentences, clauses, words. Chunks have the
    source and the metadata of their document, and their number in the source as `chunk_index`.
    """

    class Config(BaseModel):
        """Settings of the splitting."""

        mode: Literal["recursive", "tokens", "sentences", "markdown", "code", "strlen"] = Field(
            "recursive",
            description="Where to cut: recursive (paragraphs, lines, sentences, words), sentences, markdown (headings first), code "
            "(definitions first), or tokens: as recursive, with sizes in tokens. strlen: as `splitter` says, sizes in characters.",
        )
        size: int = Field(1_000, ge=1, le=1_000_000, description="Largest size of a chunk, in characters or tokens.")
        overlap: int = Field(
            100, ge=0, le=500_000, description="How much of a chunk is repeated in the next; below size."
        )
        language: str = Field("python", description="The language of code, such as python, js, go or html.")
        tokenizer: str = Field(
            "",
            description="A tokenizer.json, or a folder with one, for the sizes of `tokens`. Empty: words and signs are counted.",
            json_schema_extra={"format": "path"},
        )
        strlen: int | None = Field(None, ge=1, le=1_000_000, description="The same as size.")
        tokens: int | None = Field(None, ge=1, le=1_000_000, description="The same as size, for mode tokens.")
        splitter: Literal[
            "RecursiveCharacterTextSplitter",
            "CharacterTextSplitter",
            "TokenTextSplitter",
            "SentenceTransformersTokenTextSplitter",
            "NLTKTextSplitter",
            "SpacyTextSplitter",
            "MarkdownTextSplitter",
            "PythonCodeTextSplitter",
        ] = Field(
            "RecursiveCharacterTextSplitter", description="For mode strlen: a class of LangChain with the same effect."
        )

        @property
        def way(self) -> str:
            """The mode, of "strlen" that of the splitter."""
            return _SPLITTERS[self.splitter] if self.mode == "strlen" else self.mode

        @property
        def chunk_size(self) -> int:
            """The largest size of a chunk."""
            other = self.tokens if self.mode == "tokens" else self.strlen
            return other or self.size

        @property
        def chunk_overlap(self) -> int:
            """The overlap; its default is at most a tenth of the size."""
            return self.overlap if "overlap" in self.model_fields_set else min(self.overlap, self.chunk_size // 10)

        @model_validator(mode="after")
        def _check(self) -> Any:
            if self.chunk_overlap >= self.chunk_size:
                raise ValueError(
                    f"overlap is {self.overlap}; it must be less than the size of a chunk, {self.chunk_size}"
                )
            if self.way == "code" and self.language not in _languages():
                raise ValueError(f"language is {self.language[:50]!r}; it must be one of {', '.join(_languages())}")
            return self

    aliases = ("preprocessor_langchain",)
    profiles = {  # noqa: RUF012
        "default": {"mode": "recursive", "size": 512},
        "tokens": {"mode": "tokens", "size": 256},
        "sentences": {"mode": "sentences"},
        "markdown": {"mode": "markdown"},
        "code": {"mode": "code"},
    }
    pip_extra = "documents"
    python_packages = ("langchain_text_splitters",)

    text: Annotated[In[str], "Texts, whole or in pieces."] = ""
    documents: Annotated[In[Document | None], "Documents with text."] = None
    chunks: Annotated[Out[Document], "The chunks, in the order of their text."]

    @classmethod
    async def load(cls, config: Any) -> Rules:
        """The rules of the splitting. Raises FileUnreadable if the tokenizer cannot be used."""
        return await in_thread(_rules, config)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends the chunks of each text and each document."""
        splitting = _Splitting(self.resource, with_headings=self.config.way == "markdown")
        async for port, item in inputs.iter_items():
            group = item.envelope.group if item.envelope is not None else None
            value = item.value
            if port == "documents":
                made = splitting.document(value) if isinstance(value, Document) else iter(())
                is_slow = isinstance(value, Document) and splitting.is_slow(value.content)
            else:
                text = value if isinstance(value, str) else ""
                if group is not None and group.last and group.outcome.name != "OK":
                    context.log.warning("a text broke off; %d characters of it are dropped", splitting.drop(group.id))
                    continue
                last, name = group is None or group.last, group.id if group else ""
                is_slow = splitting.is_slow(text, name, last=last)
                made = splitting.piece(text, name, last=last)
            for chunk in await in_thread(_all, made) if is_slow else made:
                await outputs.emit("chunks", chunk)
        for chunk in await in_thread(_all, splitting.finish()):
            await outputs.emit("chunks", chunk)


@dataclass(slots=True)
class _Open:
    """A text that still arrives."""

    chunker: Chunker
    headings: Headings | None
    index: int = 0


class _Splitting:
    """The state of one component."""

    def __init__(self, rules: Rules, *, with_headings: bool) -> None:
        self._rules = rules
        self._with_headings = with_headings
        self._open: dict[str, _Open] = {}
        self._next: OrderedDict[str, int] = OrderedDict()

    def is_slow(self, text: str, group: str = "", *, last: bool = True) -> bool:
        """Whether a document, or a piece of a text, takes so long that it is split in a worker thread."""
        chunker = (self._open.get(group) or self._new()).chunker
        is_measured = last or chunker.measures(len(text))
        return is_measured and (self._rules.measure.is_slow or chunker.waiting + len(text) > LONG_TEXT)

    def document(self, document: Document) -> Iterator[Document]:
        """The chunks of a document. Raises FileNotRead if it has a file instead of text."""
        text = self._new()
        text.index = self._next.pop(document.source, 0) if document.chunk_index else 0
        chunker, content = text.chunker, text_of(document)
        for chunk in (*chunker.push(content), *chunker.finish()):
            number = f"{document.id}#{text.index}" if document.id else ""
            yield self._made(text, replace(document, content=chunk, id=number, embedding=(), score=None, file=None))
        self._next[document.source] = text.index
        if len(self._next) > MAX_SOURCES:
            self._next.popitem(last=False)

    def piece(self, piece: str, group: str, *, last: bool) -> Iterator[Document]:
        """The chunks that a piece of a text completes; `last`: the text ends with it. Raises LanemeshError beyond the limits."""
        text = self._open.get(group) or self._new()
        if not last:
            self._open[group] = text
            if len(self._open) > MAX_OPEN:
                raise too_many_open(MAX_OPEN)
        yield from self._of_text(text, text.chunker.push(piece))
        if last:
            self._open.pop(group, None)
            yield from self._of_text(text, text.chunker.finish())

    def drop(self, group: str) -> int:
        """Forgets a text. Returns how many characters of it are in no chunk."""
        text = self._open.pop(group, None)
        return text.chunker.waiting if text is not None else 0

    def finish(self) -> Iterator[Document]:
        """The chunks of the texts that had no last piece."""
        for text in self._open.values():
            yield from self._of_text(text, text.chunker.finish())
        self._open.clear()

    def _new(self) -> _Open:
        return _Open(Chunker(self._rules), Headings() if self._with_headings else None)

    def _of_text(self, text: _Open, chunks: Iterable[str]) -> Iterator[Document]:
        for chunk in chunks:
            yield self._made(text, Document(chunk, hashlib.sha256(chunk.encode()).hexdigest()[:32]))

    def _made(self, text: _Open, chunk: Document) -> Document:
        index, text.index = text.index, text.index + 1
        headings = text.headings.of(chunk.content) if text.headings is not None else []
        metadata = {**chunk.metadata, **({"headings": headings} if headings else {})}
        return replace(chunk, chunk_index=index, metadata=metadata)


def _all(made: Iterator[Document]) -> list[Document]:
    return list(made)


def _rules(config: Any) -> Rules:
    way = config.way
    places = {"recursive": separators.PROSE, "tokens": separators.PROSE, "sentences": separators.SENTENCES}.get(way)
    if places is None:
        places = separators.of_language("markdown" if way == "markdown" else config.language)
    patterns = separators.compiled(places)
    return Rules(config.chunk_size, config.chunk_overlap, _measure(config), patterns, keeps_fences=way == "markdown")


def _measure(config: Any) -> Measure:
    if config.way != "tokens":
        return Characters()
    if not config.tokenizer:
        return Words()
    path = Path(config.tokenizer).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return ModelTokens(file)
    except ImportError as error:
        raise bad_tokenizer(file, f"{error}. Install it with: pip install tokenizers") from None
    except ValueError as error:
        raise bad_tokenizer(file, error) from None


def _languages() -> list[str]:
    try:
        return separators.languages()
    except ImportError:  # the fault for missing libraries follows
        return ["python"]
