"""Which updates of runs stay in memory: all runs of an orchestrator share one budget of bytes.

Pure: it decides by the weights that logs report, and calls them to drop updates. Above the budget, the run that ended first loses
its updates, then the next one, but each keeps its terminal update and its record. Then active runs lose their oldest updates. An
update is protected while it is needed: until the owner of the run has taken it, and until it is stored. The window of the owner and
the journal of the store bound the protected updates. The latest update of a run is always kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from math import inf
from typing import Protocol

MIB = 1024 * 1024

DEFAULT_BUDGET = 256 * MIB
"""Default of the memory of all runs of an orchestrator: 256 MiB."""
MIN_BUDGET = MIB
"""Smallest budget that an orchestrator accepts: 1 MiB."""
BARE_SHARE = 4
"""Ended runs without updates are forgotten when they take more than this part of the budget: a quarter."""
MAX_ENDED_RUNS = 200
"""Most ended runs that are kept."""
PAGE_UPDATES = 128
"""Number of updates from which on a page is full. A full page is packed and dropped as a whole."""
PAGE_BYTES = 256 * 1024
"""Weight from which on a page is full: 256 KiB."""


def check_budget(budget: int) -> None:
    """Raises ValueError if a budget is too small."""
    if budget < MIN_BUDGET:
        raise ValueError(f"run_memory is {budget:,} bytes: set at least {MIN_BUDGET:,} (1 MiB)")


@dataclass(frozen=True, slots=True)
class Tail:
    """The bound of the log of one run, if its updates are stored as well."""

    updates: int = 2_000
    """Most updates."""
    bytes: int = MIB
    """Most bytes, by weight: 1 MiB."""


class Keeper(Protocol):
    """What keeps the updates of a run."""

    def pack(self, last: int) -> int:
        """Packs the oldest updates that are not packed, up to a sequence number. Returns their weight from now on."""

    def evict(self, last: int) -> None:
        """Drops the updates up to a sequence number."""

    def strip(self) -> int:
        """Drops all updates except the terminal one, packed. Returns its weight."""

    def forget(self) -> None:
        """Forgets the run, which has ended."""


class _Page:
    """Consecutive entries of the log of one run."""

    __slots__ = ("account", "entries", "first", "last", "weight")

    def __init__(self, account: Account, first: int) -> None:
        self.account = account
        self.first = first
        self.last = first - 1
        self.weight = 0
        self.entries: list[tuple[int, int]] = []
        """The last update and the weight of each entry, until the page is packed."""

    @property
    def is_full(self) -> bool:
        return self.last - self.first >= PAGE_UPDATES - 1 or self.weight >= PAGE_BYTES


class RunMemory:
    """The memory of all runs of an orchestrator."""

    def __init__(self, budget: int = DEFAULT_BUDGET, *, max_ended: int = MAX_ENDED_RUNS) -> None:
        """`budget`: most bytes. `max_ended`: most ended runs."""
        self.budget = budget
        self.held = 0
        """Weight of all runs with their updates, in bytes."""
        self._max_ended = max_ended
        self._ended: OrderedDict[Account, None] = OrderedDict()
        """Accounts of ended runs with updates, the earliest first."""
        self._bare: OrderedDict[Account, None] = OrderedDict()
        """Accounts of ended runs with only the terminal update, the earliest first."""
        self._bare_weight = 0
        self._packed: OrderedDict[_Page, None] = OrderedDict()
        """Pages that are not protected, the oldest first. None has the latest update of an active run."""
        self._partial: OrderedDict[Account, None] = OrderedDict()
        """Accounts with entries that are not protected, but in no packed page."""

    def open(self, keeper: Keeper, *, weight: int = 0, tail: Tail | None = None, protects: bool = False) -> Account:
        """Opens the account of a run.

        Args:
            keeper: keeps the updates of the run.
            weight: of the run without its updates, in bytes.
            tail: the bound of this run; None: only the budget bounds it.
            protects: whether updates are protected until `Account.release`.
        """
        account = Account(self, keeper, weight, tail, protects=protects)
        self.trim()
        return account

    def trim(self) -> None:
        """Drops updates until the budget suffices, or all that is left is protected."""
        while self.held > self.budget:
            ended = next((account for account in self._ended if not account.is_protected), None)
            if ended is not None:
                ended.shrink()
            elif self._bare_weight > self.budget // BARE_SHARE:
                next(iter(self._bare)).remove()
            elif self._packed:
                next(iter(self._packed)).account.drop_page()
            elif self._partial:
                next(iter(self._partial)).drop_partial(self.held - self.budget)
            elif self._bare:
                next(iter(self._bare)).remove()
            else:
                return

    def limit_ended(self) -> None:
        """Removes the oldest ended runs above their number; one with protected updates only if there is no other."""
        while len(self._bare) + len(self._ended) > self._max_ended:
            removable = (account for account in (*self._bare, *self._ended) if not account.is_protected)
            next(removable, next(iter(self._ended), None) or next(iter(self._bare))).remove()


class Account:
    """The memory of one run. Its updates are numbered from 1."""

    def __init__(self, memory: RunMemory, keeper: Keeper, weight: int, tail: Tail | None, *, protects: bool) -> None:
        """Opened by `RunMemory.open`."""
        self.last = 0
        """Number of the latest update."""
        self.kept = 0
        """Number of kept updates."""
        self.weight = 0
        """Weight of the run and its kept updates, in bytes."""
        self._memory = memory
        self._keeper = keeper
        self._run_weight = weight
        self._tail = tail
        self._released: float = 0 if protects else inf
        """Number of the last update that is not protected."""
        self._packed: deque[_Page] = deque()
        self._recent: deque[_Page] = deque()
        """Pages after the packed ones, the last of which takes further entries."""
        self._has_ended = False
        self._closed = False
        self._add_weight(weight)

    @property
    def is_protected(self) -> bool:
        """Whether the run has a protected update."""
        return self._released < self.last

    def add(self, weight: int, updates: int = 1) -> None:
        """Accounts for the next entry: one or more updates, of this weight together. May call the keepers of all runs to drop
        updates."""
        self.last += updates
        if self._closed:
            return
        if not self._recent or self._recent[-1].is_full:
            self._recent.append(_Page(self, self.last + 1 - updates))
        page = self._recent[-1]
        page.last = self.last
        page.weight += weight
        page.entries.append((self.last, weight))
        self.kept += updates
        self._add_weight(weight)
        if len(page.entries) <= 2:
            self._settle()
        self._trim()

    def release(self, sequence: float) -> None:
        """Ends the protection of the updates up to a number. `math.inf`: no update is protected from now on."""
        if sequence > self._released and not self._closed:
            self._released = sequence
            self._settle()
            self._trim()

    def end(self) -> None:
        """Marks the run as ended: it loses its updates before active runs do."""
        self._has_ended = True
        self._memory._ended[self] = None
        self._settle()
        self._memory.limit_ended()
        self._trim()

    def shrink(self) -> None:
        """Drops the oldest page of an ended run, or all of its last page except the terminal update."""
        memory = self._memory
        if len(self._packed) > 1:
            self.drop_page()
            return
        if self._packed:
            page = self._packed.popleft()
            del memory._packed[page]
            weight = self._keeper.strip()
            self.kept = 1
            self._add_weight(weight - page.weight)
        del memory._ended[self]
        memory._bare[self] = None
        memory._bare_weight += self.weight

    def drop_page(self) -> None:
        """Drops the oldest packed page."""
        page = self._packed.popleft()
        del self._memory._packed[page]
        self.kept -= page.last - page.first + 1
        self._add_weight(-page.weight)
        self._keeper.evict(page.last)

    def drop_partial(self, excess: int) -> None:
        """Drops some of the oldest entries that are in no packed page and not protected, to free this number of bytes."""
        page = self._recent[0]
        number = weight = 0
        last = page.first - 1
        for entry_last, entry_weight in page.entries:
            if entry_last > self._released or entry_last == self.last or weight >= excess:
                break
            number += 1
            last, weight = entry_last, weight + entry_weight
        del page.entries[:number]
        self.kept -= last + 1 - page.first
        page.first = last + 1
        page.weight -= weight
        self._add_weight(-weight)
        self._settle()
        self._keeper.evict(page.first - 1)

    def remove(self) -> None:
        """Forgets an ended run. Those who read its log now get the protected updates and the terminal one."""
        memory = self._memory
        for page in self._packed:
            del memory._packed[page]
        memory._partial.pop(self, None)
        memory._ended.pop(self, None)
        if self in memory._bare:
            del memory._bare[self]
            memory._bare_weight -= self.weight
        self._packed.clear()
        self._recent.clear()
        self._add_weight(-self.weight)
        self.kept = 0
        self._closed = True
        self._keeper.evict(int(min(self.last - 1, self._released)))
        self._keeper.forget()

    def _settle(self) -> None:
        """Packs the pages that are not protected any more, except the last one of an active run."""
        memory = self._memory
        while self._recent:
            page = self._recent[0]
            if page.last > self._released or (len(self._recent) == 1 and not self._has_ended):
                break
            self._recent.popleft()
            weight = self._keeper.pack(page.last)
            self._add_weight(weight - page.weight)
            page.weight = weight
            page.entries = []
            self._packed.append(page)
            memory._packed[page] = None
        if self._recent and (first := self._recent[0].entries[0][0]) <= self._released and first < self.last:
            memory._partial.setdefault(self)
        else:
            memory._partial.pop(self, None)

    def _trim(self) -> None:
        tail = self._tail
        if tail is not None:
            while (
                self._packed
                and self._recent
                and (self.kept > tail.updates or self.weight - self._run_weight > tail.bytes)
            ):
                self.drop_page()
        if self._memory.held > self._memory.budget:
            self._memory.trim()

    def _add_weight(self, weight: int) -> None:
        self.weight += weight
        self._memory.held += weight
