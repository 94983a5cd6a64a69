"""Models that order documents by a question: a cross-encoder, or the late interaction of an embedding model."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lanemesh_services.search.words import query_words, words_of
from lanemesh_services.shared.errors import unusable

BATCH = 32
"""Most texts that go through a model at once."""
MAX_CHARACTERS = 8_192
"""Most characters of a document that are judged."""
WORD_WEIGHT = 0.3
"""Weight of the common words beside that of the whole meaning, and that of the single words' meanings, which are 1."""
STEM = 5
"""Letters by which words are compared, so that most forms of a word are the same."""


class Reranker(Protocol):
    """Judges documents. Called from worker threads."""

    def scores(self, question: str, documents: Sequence[str]) -> list[float]:
        """How well each document answers a question; greater is better."""


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers: it reads a question and a document together."""

    def __init__(self, folder: Path, device: str) -> None:
        """Loads the model. Raises ImportError or ModelUnusable."""
        from sentence_transformers import CrossEncoder

        self._lock = threading.Lock()
        try:
            self._model = CrossEncoder(str(folder), device=device or None, local_files_only=True)
        except Exception as error:  # libraries raise many types for a folder that is not a model's
            raise _unusable(folder, error) from error

    def scores(self, question: str, documents: Sequence[str]) -> list[float]:
        """See `Reranker.scores`."""
        pairs = [(question, document[:MAX_CHARACTERS]) for document in documents]
        with self._lock:
            found = self._model.predict(pairs, batch_size=BATCH, show_progress_bar=False)
        return [float(score) for score in found]


class LateInteraction:
    """An embedding model, asked more closely: it compares each word of a question with the most similar one of a document.

    A score is the mean of three parts: the cosine of the two texts, the mean of the greatest cosines of the question's words
    (ColBERT's late interaction), and, with less weight, the share of the question's words that the document has. This is less
    than a cross-encoder does, which reads both texts together.
    """

    def __init__(self, folder: Path, device: str) -> None:
        """Loads the model. Raises ImportError or ModelUnusable."""
        from sentence_transformers import SentenceTransformer

        self._lock = threading.Lock()
        try:
            self._model = SentenceTransformer(str(folder), device=device or None, local_files_only=True)
        except Exception as error:
            raise _unusable(folder, error) from error

    def scores(self, question: str, documents: Sequence[str]) -> list[float]:
        """See `Reranker.scores`."""
        texts = [question, *(document[:MAX_CHARACTERS] for document in documents)]
        with self._lock:
            encoded = self._model.encode(texts, output_value=None, batch_size=BATCH, show_progress_bar=False)
        (whole, words), *others = map(_normalised, encoded)
        wanted = _stems(query_words(question))
        scores = []
        for text, (other, other_words) in zip(texts[1:], others, strict=True):
            meaning = float(whole @ other)
            near = float((words @ other_words.T).max(dim=1).values.mean()) if len(words) and len(other_words) else 0.0
            common = len(wanted & _stems(words_of(text))) / len(wanted) if wanted else 0.0
            scores.append((meaning + near + WORD_WEIGHT * common) / (2 + WORD_WEIGHT))
        return scores


def opened(folder: Path, device: str) -> Reranker:
    """The model of a folder. Raises ImportError or ModelUnusable."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return CrossEncoderReranker(folder, device) if _is_cross_encoder(folder) else LateInteraction(folder, device)


def _is_cross_encoder(folder: Path) -> bool:
    """Whether the model of a folder classifies pairs of texts."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    architectures = config.get("architectures") if isinstance(config, dict) else None
    return any("SequenceClassification" in str(name) for name in architectures or ())


def _normalised(encoded: Any) -> tuple[Any, Any]:
    """The embedding of a text and those of its tokens, all with the length 1, without those that mark begin and end."""
    from torch.nn.functional import normalize

    tokens = encoded["token_embeddings"]
    count = int(encoded["attention_mask"].sum()) if "attention_mask" in encoded else len(tokens)
    return normalize(encoded["sentence_embedding"], dim=0), normalize(tokens[1 : count - 1], dim=1)


def _stems(words: Sequence[str]) -> set[str]:
    return {word[:STEM] for word in words}


def _unusable(folder: Path, error: Exception) -> Exception:
    hint = "Give the folder of a cross-encoder or an embedding model, or install one: lanemesh models get minilm"
    return unusable(folder, " ".join(str(error).split())[:300].rstrip("."), hint)
