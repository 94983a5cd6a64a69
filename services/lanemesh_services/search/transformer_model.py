"""An embedding model of sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lanemesh_services.search.embedding import BATCH, Text
from lanemesh_services.shared.errors import unusable

CHARACTERS_PER_TOKEN = 32
"""Characters of a text that are looked at for each token that the model reads. Words have some 4 characters for a token."""

PASS_CHARACTERS = 8_192
"""Characters of one pass through the model on a processor, with the padding: some 2,000 tokens. More make no pass faster, but take
more memory, and pad short texts to the length of longer ones."""


class TransformerEmbedder:
    """A model in a folder on this host. Nothing is downloaded."""

    def __init__(
        self,
        folder: Path,
        *,
        query_prefix: str,
        passage_prefix: str,
        normalise: bool,
        max_tokens: int | None,
        device: str,
    ) -> None:
        """Loads the model, which takes seconds.

        Args:
            folder: folder of a model of sentence-transformers, or of transformers.
            query_prefix: text before each question.
            passage_prefix: text before each document.
            normalise: embeddings have the length 1.
            max_tokens: most tokens that are read of a text; None: as the model has it.
            device: device of torch; empty: the best one of this host.

        Raises:
            ImportError: sentence-transformers is not installed.
            ModelUnusable: the folder is not that of a model.
        """
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        try:
            self._model = SentenceTransformer(str(folder), device=device or None, local_files_only=True)
        except Exception as error:  # libraries raise many types for a folder that is not a model's
            hint = "Give the folder of a model of sentence-transformers, or install one: lanemesh models get minilm"
            raise unusable(folder, " ".join(str(error).split())[:300].rstrip("."), hint) from error
        if max_tokens is not None:
            self._model.max_seq_length = min(max_tokens, self._model.max_seq_length or max_tokens)
        self._tokens = int(self._model.max_seq_length or 0)
        self.limit = f"{self._tokens:,} tokens"
        self._prefixes = {True: query_prefix, False: passage_prefix}
        self._normalise = normalise

    def are_cut(self, texts: Sequence[Text]) -> list[bool]:
        """See `Embedder.are_cut`. Only texts that may have too many tokens are counted."""
        whole = [self._prefixes[text.is_query] + text.text for text in texts]
        heads = [self._head(text) for text in whole]
        long = [head for head in heads if self._tokens and len(head) > self._tokens // 2]
        counts: dict[str, int] = {}
        if long:
            tokens: Any = self._model.tokenizer(long, truncation=False, verbose=False)
            counts = {head: len(ids) for head, ids in zip(long, tokens["input_ids"], strict=True)}
        return [
            counts.get(head, 0) > self._tokens or len(text) > len(head) for head, text in zip(heads, whole, strict=True)
        ]

    def embed(self, texts: Sequence[Text]) -> list[list[float]]:
        """See `Embedder.embed`."""
        heads = [self._head(self._prefixes[text.is_query] + text.text) for text in texts]
        vectors: list[list[float]] = [[] for _ in heads]
        on_processor = self._model.device.type == "cpu"
        for part in passes([len(head) for head in heads], PASS_CHARACTERS if on_processor else None):
            encoded = self._model.encode(
                [heads[index] for index in part],
                batch_size=BATCH,
                normalize_embeddings=self._normalise,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
            for index, vector in zip(part, encoded, strict=True):
                vectors[index] = vector.tolist()
        return vectors

    def _head(self, text: str) -> str:
        """As much of a text as may have the tokens that the model reads."""
        return text[: self._tokens * CHARACTERS_PER_TOKEN] if self._tokens else text


def passes(lengths: Sequence[int], most: int | None) -> Iterator[list[int]]:
    """Divides texts of these lengths into passes through a model, each of texts that have similar lengths.

    Args:
        lengths: the lengths of the texts.
        most: greatest sum of the lengths of a pass, in which each text is padded to the longest one; None: any. A longer text has
            a pass of its own.

    Yields:
        The indices of each pass, those of the longest texts first.
    """
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if part and most is not None and (len(part) + 1) * lengths[part[0]] > most:
            yield part
            part = []
        part.append(index)
    if part:
        yield part
