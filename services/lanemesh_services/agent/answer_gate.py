"""What of a turn's text is the answer and what is a thought: a pure decision, piece by piece.

A model tells only by calling a tool that what it said before was a thought. To stream the answer nevertheless, the beginning of a
turn is held back, up to a limit: a call shows that it was a thought, the limit or the end of the turn that it is the answer.
"""

from __future__ import annotations


class AnswerGate:
    """The text of one turn.

    * A call while the text is held back: the text is a thought, and so is what follows it in this turn.
    * More text than `holdback` characters: it is the answer, and from here on every piece goes out as it comes.
    * The end of the turn without a call: what is still held back is the answer.

    If a call comes after text has gone out, that text stays in the answer, since a lane takes nothing back, and is told as a
    thought as well.
    """

    def __init__(self, holdback: int | None) -> None:
        """`holdback`: most characters to hold back; 0 if no call can come; None if no text of this turn is the answer."""
        self.text = ""
        """All of it, for the conversation."""
        self.flowing = holdback == 0
        """Text has gone out as the answer, or would at once."""
        self._hold = holdback
        self._called = False
        self._untold = ""

    @property
    def answered(self) -> bool:
        """Some of the text has gone out as the answer."""
        return self.flowing and bool(self.text)

    def push(self, piece: str) -> str:
        """Takes a piece of text; returns what goes out as the answer now."""
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
        """A tool is called; returns the thought that led to it, if there is one that was not told yet."""
        self._called = True
        thought, self._untold = self._untold.strip(), ""
        return thought

    def finish(self) -> tuple[str, str]:
        """The turn has ended; returns what is left to go out as the answer, and the thought that is left to be told."""
        if self._called or self._hold is None:
            return "", self.tool_call()
        return ("" if self.flowing else self.text), ""
