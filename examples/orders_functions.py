"""What the orders example does with a line: a function, without any of Lanemesh's classes."""

import re

ORDER = re.compile(r"(\d+) x (\w+) for table (\d+)")


def read(line: str) -> dict[str, object] | None:
    """An order as data; nothing for a line that is none."""
    found = ORDER.fullmatch(line.strip())
    return {"count": int(found[1]), "dish": found[2], "table": int(found[3])} if found else None
