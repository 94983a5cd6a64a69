"""An embedding model of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanemesh_services.search.embedding import BATCH, Text, Vector
from lanemesh_services.shared.errors import unusable

CHARACTERS_PER_TOKEN = 32
"""Characters of a text that are looked at for each token that the model reads. Words have some 4 characters for a token."""


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

    def embed(self, texts: Sequence[Text]) -> list[Vector]:
        """See `Embedder.embed`."""
        whole = [self._prefixes[text.is_query] + text.text for text in texts]
        most = self._tokens * CHARACTERS_PER_TOKEN
        heads = [text[:most] for text in whole] if most else whole
        cut = self._cut(whole, heads)
        vectors = self._model.encode(
            heads,
            batch_size=BATCH,
            normalize_embeddings=self._normalise,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return [Vector(vector.tolist(), is_cut) for vector, is_cut in zip(vectors, cut, strict=True)]

    def _cut(self, whole: Sequence[str], heads: Sequence[str]) -> list[bool]:
        """Whether each text has more tokens than the model reads."""
        if not self._tokens:
            return [False] * len(whole)
        long = [index for index, head in enumerate(heads) if len(head) > self._tokens // 2]
        counts: dict[int, int] = {}
        if long:
            tokens: Any = self._model.tokenizer([heads[index] for index in long], truncation=False, verbose=False)
            counts = {index: len(ids) for index, ids in zip(long, tokens["input_ids"], strict=True)}
        return [
            counts.get(index, 0) > self._tokens or len(text) > len(heads[index]) for index, text in enumerate(whole)
        ]
