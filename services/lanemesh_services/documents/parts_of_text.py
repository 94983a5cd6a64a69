"""Long texts in parts for a model, cut between paragraphs and sentences."""

from __future__ import annotations

from lanemesh_services.documents.splitting import separators
from lanemesh_services.documents.splitting.chunker import Chunker, Rules
from lanemesh_services.documents.splitting.measures import Characters


def parts_of(text: str, characters: int) -> list[str]:
    """A text in parts of at most so many characters; none if it is blank."""
    chunker = Chunker(Rules(characters, 0, Characters(), separators.compiled(separators.PROSE)))
    return [*chunker.push(text), *chunker.finish()]
