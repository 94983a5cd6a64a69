"""Finds names, addresses, numbers and the like, by spaCy and presidio."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lanemesh_services.documents.reading.plain import parts_of
from lanemesh_services.shared.errors import import_failed, unusable

PART = 100_000
"""Most characters that are analysed at a time: the memory of spaCy grows with them."""


_LOADING = threading.Lock()
"""Held while a model is loaded, so that components that start together load it once."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A part of a text that names something."""

    label: str
    """What it is, such as PERSON."""
    start: int
    end: int
    """Its place in the text, in characters."""
    score: float
    """How certain it is, from 0 to 1."""

    def to_json(self) -> dict[str, Any]:
        """It as JSON, without its text."""
        return {"label": self.label, "start": self.start, "end": self.end, "score": round(self.score, 4)}


def pipeline(path: Path, provider: str) -> Any:
    """The spaCy pipeline of a model's folder. Components share it; two models are kept.

    Raises:
        EngineMissing: spaCy is not installed.
        ModelUnusable: the folder has no model that this spaCy can load.
    """
    with _LOADING:
        return _pipeline(path, provider)


@lru_cache(maxsize=2)
def _pipeline(path: Path, provider: str) -> Any:
    try:
        import spacy
    except ImportError as error:
        raise import_failed("spacy", provider, "privacy", error) from error
    try:
        return spacy.load(path)
    except Exception as error:  # spaCy raises errors of many kinds for a broken model
        raise unusable(path, f"{error!s:.300}", "Install a model with: lanemesh models get en-core-web-sm") from error


def analyzer(path: Path, language: str, provider: str) -> Any:
    """The analyzer of presidio with the model of a folder. Components share it; two are kept. Raises like `pipeline`."""
    with _LOADING:
        return _analyzer(path, language, provider)


@lru_cache(maxsize=2)
def _analyzer(path: Path, language: str, provider: str) -> Any:
    nlp = _pipeline(path, provider)
    try:
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError as error:
        raise import_failed("presidio_analyzer", provider, "privacy", error) from error
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it warns of each recognizer of another language
    _stay_offline()
    engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": str(path)}])
    engine.nlp = {language: nlp}
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(nlp_engine=engine, languages=[language])
    return AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=[language])


def names_in(nlp: Any, text: str) -> Iterator[Entity]:
    """The names that a spaCy pipeline finds."""
    start = 0
    for part in parts_of(text, PART):
        for found in nlp(part).ents:
            yield Entity(found.label_, start + found.start_char, start + found.end_char, 1.0)
        start += len(part)


def personal_data_in(
    engine: Any,
    text: str,
    *,
    language: str,
    labels: Sequence[str],
    score: float,
    words: Mapping[str, Sequence[str]],
    allowed: Sequence[str],
) -> list[Entity]:
    """What presidio finds, without overlaps, in the order of the text.

    Args:
        engine: that of `analyzer`.
        text: what is analysed.
        language: the language of the text, as the engine knows it.
        labels: what is looked for; empty: everything.
        score: least certainty.
        words: further words by their label.
        allowed: texts that are no finds.
    """
    from presidio_analyzer import PatternRecognizer

    own = [
        PatternRecognizer(label, deny_list=list(some), supported_language=language)
        for label, some in words.items()
        if some
    ]
    wanted = [*labels, *words] if labels else None
    found: list[Entity] = []
    start = 0
    for part in parts_of(text, PART):
        results = engine.analyze(
            part,
            language=language,
            entities=wanted,
            score_threshold=score,
            ad_hoc_recognizers=own or None,
            allow_list=list(allowed) or None,
        )
        found += [Entity(one.entity_type, start + one.start, start + one.end, one.score) for one in results]
        start += len(part)
    return without_overlaps(found)


def without_overlaps(found: Sequence[Entity]) -> list[Entity]:
    """The most certain of those that overlap, of equal ones the longest, in the order of the text."""
    kept: list[Entity] = []
    taken: set[int] = set()
    for one in sorted(found, key=lambda each: (-each.score, each.start - each.end, each.start, each.label)):
        places = range(one.start, one.end)
        if taken.isdisjoint(places):
            taken.update(places)
            kept.append(one)
    return sorted(kept, key=lambda each: each.start)


def _stay_offline() -> None:
    """presidio checks the domains of e-mail addresses with tldextract, which would fetch a list: it uses the one that it has."""
    from tldextract import TLDExtract, tldextract

    tldextract.TLD_EXTRACTOR = TLDExtract(suffix_list_urls=(), cache_dir=None)
