"""Separates the text of a turn into answer and thoughts, piece by piece. Pure.

Only a tool call shows that the text before it was a thought. To stream the answer nevertheless, the beginning of a turn is held
back, up to a limit. If a call follows within the limit, the text is a thought; otherwise it is the answer.
"""

from __future__ import annotations


class AnswerGate:
    """The text of one turn.

    * A call while the text is held back: the text is a thought, and so is the rest of the turn.
    * More text than `holdback` characters: it is the answer, and every further piece is sent at once.
    * The end of the turn without a call: the held-back text is the answer.

    If a call follows after text was sent, that text stays in the answer, because a lane cannot revoke items, and is reported as a
    thought as well.
    """

    def __init__(self, holdback: int | None) -> None:
        """`holdback`: maximum number of characters to hold back; 0 if no call is possible; None if no text of this turn is the
        answer."""
        self.text = ""
        """The whole text, for the conversation."""
        self.flowing = holdback == 0
        """Text was sent as the answer, or would be sent at once."""
        self._hold = holdback
        self._called = False
        self._untold = ""

    @property
    def answered(self) -> bool:
        """Some of the text was sent as the answer."""
        return self.flowing and bool(self.text)

    def push(self, piece: str) -> str:
        """Adds a piece of text; returns the text to send as the answer now."""
        self.text += piece
        self._untold += piece
        if self._called:
            return ""
        if self.flowing:
            return piece
        if self._hold is None or len(self.text.strip()) <= self._hold:
            return ""
        self.flowing = True
        return self.text

    def tool_call(self) -> str:
        """Adds a tool call; returns the thought before it, if one was not reported yet."""
        self._called = True
        thought, self._untold = self._untold.strip(), ""
        return thought

    def finish(self) -> tuple[str, str]:
        """Ends the turn; returns the remaining text of the answer, and the remaining thought to report."""
        if self._called or self._hold is None:
            return "", self.tool_call()
        return ("" if self.flowing else self.text), ""
