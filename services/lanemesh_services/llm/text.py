"""Streaming text: conversion of tokens to pieces of text, and detection of stop texts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

INCOMPLETE = "\ufffd"
"""The output of a decoder for an incomplete character."""


CHARACTER_BYTES = 4
"""Maximum number of bytes, and so of tokens, of one character in UTF-8."""
WINDOW = 8
"""Tokens of a run of broken characters that are decoded again for each new one."""


class StopScanner:
    """Finds stop texts in a stream of pieces, also where one spans several pieces.

    It holds back at most the length of the longest stop text minus one character.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False
        """Whether a stop text was found. Text after it is discarded."""

    def push(self, piece: str) -> str:
        """Adds a piece; returns the text that is certainly part of the answer."""
        if self.stopped:
            return ""
        if not self._stops:
            return piece
        text = self._held + piece
        found = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """Ends the stream; returns the held-back text that is not a stop text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of the text that is a prefix of a stop text."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class Detokenizer:
    """Converts a growing list of tokens into pieces of text, without splitting a character or losing a space.

    Only the last few tokens are decoded again for each new one: decoding them with and without the new one shows what the new one
    adds, whatever the tokenizer does at the beginning of a text. At most the three bytes that can still become a character are held
    back; invalid UTF-8 becomes U+FFFD.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._begin = 0
        """Index of the first token that is decoded again."""
        self._whole = 0
        """Number of tokens when the text last ended in a complete character."""
        self._shown = ""
        """The text emitted from `_begin` on."""

    def push(self, tokens: Sequence[int]) -> str:
        """Takes all tokens so far; returns the complete characters that the new ones add."""
        return self._advance(tokens, final=False)

    def finish(self, tokens: Sequence[int]) -> str:
        """Ends the stream; returns the remaining text, including incomplete characters."""
        return self._advance(tokens, final=True)

    def _advance(self, tokens: Sequence[int], *, final: bool) -> str:
        now = self._decode(tokens[self._begin :])
        if not now.startswith(
            self._shown
        ):  # some decoders change the characters before an incomplete one until it is complete
            if len(tokens) - self._whole < CHARACTER_BYTES and not final:
                return ""
            self._begin, self._shown = self._whole, ""
            now = self._decode(tokens[self._begin :])
        end = len(now) if final else len(now) - _cut(now)
        piece = now[len(self._shown) : end]
        if end < len(now):
            self._shown = now[: max(end, len(self._shown))]
            if len(tokens) - self._begin > WINDOW:
                self._forget(tokens, now)
        elif piece:
            self._begin, self._whole = self._whole, len(tokens)
            self._shown = self._decode(tokens[self._begin :])
        return piece

    def _forget(self, tokens: Sequence[int], now: str) -> None:
        """Drops tokens from the front of a long run of invalid characters, so that each one is decoded only a few times."""
        place = len(tokens) - CHARACTER_BYTES
        before = self._decode(tokens[self._begin : place])
        if self._shown.startswith(before) and before + self._decode(tokens[place:]) == now:
            self._begin = self._whole = place
            self._shown = self._shown[len(before) :]


def _cut(text: str) -> int:
    """Number of replacement characters at the end of a text that may still become a character."""
    return min(len(text) - len(text.rstrip(INCOMPLETE)), CHARACTER_BYTES - 1)
