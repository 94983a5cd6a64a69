"""Text as it streams: from tokens to pieces of text, and the stop texts that end it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

INCOMPLETE = "\ufffd"
"""What a decoder writes for the leading bytes of a character whose other bytes have not come yet."""


CHARACTER_BYTES = 4
"""Most bytes, and so most tokens, of one character in UTF-8."""
WINDOW = 8
"""Tokens of a run of broken characters that are decoded again for each new one."""


class StopScanner:
    """Finds stop texts in a stream of pieces, also where one spans several pieces.

    It holds back at most the length of the longest stop text less one character.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False
        """Whether a stop text was found. Nothing after it counts."""

    def push(self, piece: str) -> str:
        """Takes a piece; returns the text that is certain to be part of the answer."""
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
        """The end of the stream; returns what was held back and turned out to be no stop text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that a stop text begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class Detokenizer:
    """Turns a growing list of tokens into pieces of text, without cutting a character or losing a space in two.

    Only the last few tokens are decoded again for each new one: decoding them with and without the new one shows what the
    new one adds, whatever the tokenizer does at the beginning of a text. At most the three bytes that can still become a
    character are held back; bytes that are no UTF-8 come out as U+FFFD.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._begin = 0
        """Where the tokens begin that are decoded again."""
        self._whole = 0
        """How many tokens there were when the text last ended in a whole character."""
        self._shown = ""
        """What has come out of the text from `_begin` on."""

    def push(self, tokens: Sequence[int]) -> str:
        """Takes all tokens written so far; returns the text that the new ones add, as far as its characters are whole."""
        return self._advance(tokens, final=False)

    def finish(self, tokens: Sequence[int]) -> str:
        """The end of the stream; returns what is left, characters cut in the middle included."""
        return self._advance(tokens, final=True)

    def _advance(self, tokens: Sequence[int], *, final: bool) -> str:
        now = self._decode(tokens[self._begin :])
        if not now.startswith(self._shown):  # some decoders spoil the characters before a cut one, until it is whole
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
        """Drops tokens from the front of a long run of broken characters, so that each one is decoded a few times only."""
        place = len(tokens) - CHARACTER_BYTES
        before = self._decode(tokens[self._begin : place])
        if self._shown.startswith(before) and before + self._decode(tokens[place:]) == now:
            self._begin = self._whole = place
            self._shown = self._shown[len(before) :]


def _cut(text: str) -> int:
    """How many marks of broken characters at the end of a text may still become a character."""
    return min(len(text) - len(text.rstrip(INCOMPLETE)), CHARACTER_BYTES - 1)
