"""What all embedding nodes share: which texts of which items are embedded, and what becomes of the embeddings."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Protocol

from lanemesh import Batch, Context, Document, In, Node, Out, Question
from pydantic import BaseModel, Field

from lanemesh_services.search.errors import TextUnusable, name_of, no_text, text_too_long

BATCH = 64
"""Most texts that are embedded at once."""
MAX_RUNS = 1_000
"""Most runs whose cut texts are counted at once."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be embedded."""

    text: str
    is_query: bool
    """It is a question, not a passage that may answer one."""


class Embedder(Protocol):
    """A model that embeds texts. Called from worker threads, by one of them at a time."""

    limit: str
    """How much of a text the model reads, such as "256 tokens"."""

    def are_cut(self, texts: Sequence[Text]) -> list[bool]:
        """Whether each text is longer than the model reads, so that its end is not in its embedding."""

    def embed(self, texts: Sequence[Text]) -> list[list[float]]:
        """The embeddings of texts, in their order."""


@dataclass
class CutTexts:
    """Counts the texts of each run that were cut, for the runs that share a model."""

    _counts: OrderedDict[tuple[str, str], int] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, context: Context) -> int:
        """Counts one. Returns the count of the component in its run."""
        key = (context.run_id, context.component)
        with self._lock:
            count = self._counts.pop(key, 0) + 1
            self._counts[key] = count
            if len(self._counts) > MAX_RUNS:
                self._counts.popitem(last=False)
        return count

    def take(self, context: Context) -> int:
        """The count of the component in its run, which has ended."""
        with self._lock:
            return self._counts.pop((context.run_id, context.component), 0)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the components of one config on a node server share."""

    embedder: Any
    cut: CutTexts = field(default_factory=CutTexts)


TooLong = Annotated[
    Literal["cut", "fail"],
    Field(
        description='What becomes of a text that is longer than the model reads: "cut" logs a warning, "fail" fails.'
    ),
]


class EmbeddingConfig(BaseModel):
    """Settings that all embedding nodes have."""

    too_long: TooLong = "cut"


class EmbeddingNode(Node):
    """Base of all embedding nodes."""

    separate_inputs = True

    documents: Annotated[In[Document | None], "Documents, or chunks of them; their content is embedded."] = None
    questions: Annotated[In[Question | None], "Questions; their text is embedded."] = None
    embedded_documents: Annotated[Out[Document], "The documents with their embeddings."]
    embedded_questions: Annotated[Out[Question], "The questions with their embeddings."]

    async def finalize(self, context: Context) -> None:
        """Logs how many texts were cut."""
        loaded = self.__dict__.get("resource")
        if isinstance(loaded, Loaded) and (count := loaded.cut.take(context)) > 1:
            context.log.warning("%d texts were longer than the model reads, and were cut", count)


class LocalEmbeddingNode(EmbeddingNode):
    """Base of the embedding nodes whose model runs in the node server."""

    batch = Batch(max=BATCH, within=0.005)

    def process(self, items: list[Any]) -> list[Any]:
        """Embeds the items of several firings."""
        return embedded(items, self.resource, self.config.too_long)


def texts_of(item: Any, component: str) -> list[tuple[str, Text]]:
    """The texts of an item by the output that its value leaves by. Raises TextUnusable if one is empty."""
    found = []
    if (document := item.documents) is not None:
        if not document.content.strip():
            hint = "Remove it before, or let the run go on without it by on_error: skip"
            if getattr(document, "file", None) is not None:
                hint = "It is a file that was not read yet: connect a parse before"
            raise no_text(component, name_of(document), hint)
        found.append(("embedded_documents", Text(document.content, is_query=False)))
    if (question := item.questions) is not None:
        if not question.text.strip():
            raise no_text(component, "a question", "Ask with a text")
        found.append(("embedded_questions", Text(question.text, is_query=True)))
    return found


def embedded(items: Sequence[Any], loaded: Loaded, too_long: str) -> list[dict[str, Document | Question] | Exception]:
    """Embeds the items of several firings at once, each of which has `documents`, `questions` or both, and its `context`.

    Returns the values by output for each item, in their order, or the error of that item alone.
    """
    texts, results = planned(items)
    flat = [(position, output, text) for position, named in texts for output, text in named]
    if not flat:
        return results
    embedder = loaded.embedder
    for (position, output, _), is_cut in zip(flat, embedder.are_cut([text for *_, text in flat]), strict=True):
        if is_cut:
            error = _cut(items[position], output, loaded, too_long)
            results[position] = error or results[position]
    left = [entry for entry in flat if isinstance(results[entry[0]], dict)]
    for (position, output, _), vector in zip(left, embedder.embed([text for *_, text in left]), strict=True):
        item = items[position]
        value = item.documents if output == "embedded_documents" else item.questions
        results[position][output] = replace(value, embedding=tuple(vector))
    return results


def _cut(item: Any, output: str, loaded: Loaded, too_long: str) -> TextUnusable | None:
    """Logs that a text is cut, once for a component; or the error of it."""
    context, limit = item.context, loaded.embedder.limit
    what = name_of(item.documents) if output == "embedded_documents" else "a question"
    if too_long == "fail":
        return text_too_long(context.component, what, limit)
    if loaded.cut.add(context) == 1:
        context.log.warning(
            "%s is longer than the %s that the model reads: its end is not in the embedding. Split it before",
            what,
            limit,
        )
    return None


def planned(items: Sequence[Any]) -> tuple[list[tuple[int, list[tuple[str, Text]]]], list[Any]]:
    """The texts of each item by its position, and the results so far: the errors of items without a text."""
    texts: list[tuple[int, list[tuple[str, Text]]]] = []
    results: list[Any] = [{} for _ in items]
    for position, item in enumerate(items):
        try:
            if named := texts_of(item, item.context.component):
                texts.append((position, named))
        except TextUnusable as error:
            results[position] = error
    return texts, results
