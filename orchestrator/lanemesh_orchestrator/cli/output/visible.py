"""Text of others as a terminal shows it: control characters, which could move its cursor or change its settings, as symbols."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_SYMBOLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_SYMBOLS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def visible(text: str) -> str:
    """The text with a symbol for each control character but tabs and line breaks: ␛ for ESC."""
    return text if text.isprintable() else text.replace("\r\n", "\n").translate(_SYMBOLS)


def cells(texts: Iterable[str], *, fold: bool = True) -> Iterator[Text]:
    """Cells of a table of rich's, which contain the texts themselves and no markup; long ones are folded or cut."""
    from rich.text import Text

    return (Text(visible(text), overflow="fold" if fold else None) for text in texts)
