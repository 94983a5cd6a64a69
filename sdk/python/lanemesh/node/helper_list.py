"""The helpers of one kind that are connected to a node, in order and by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, overload

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HelperKind

T = TypeVar("T")


class Helpers(Generic[T]):
    """Clients of helpers, in the order in which the pipeline names them: `helpers[0]`, or by name, `helpers["judge"]`."""

    def __init__(self, component: str, kind: HelperKind, named: Sequence[tuple[str, T]] = ()) -> None:
        """`named`: each client with its name, or an empty one."""
        self._component = component
        self._kind = kind
        self._named = tuple(named)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each; empty for those that have none."""
        return tuple(name for name, _ in self._named)

    def named(self, name: str) -> list[T]:
        """All helpers with a name, which several may share."""
        return [helper for its_name, helper in self._named if its_name == name]

    @overload
    def __getitem__(self, which: int | str) -> T: ...
    @overload
    def __getitem__(self, which: slice) -> list[T]: ...
    def __getitem__(self, which: int | str | slice) -> T | list[T]:
        """One helper by its position or its name, or several by a slice.

        Raises:
            IndexError: there are fewer.
            LanemeshError: none has that name ("not-wired"), or several have it ("several-helpers").
        """
        if isinstance(which, slice):
            return [helper for _, helper in self._named[which]]
        if isinstance(which, int):
            return self._named[which][1]
        found = self.named(which)
        if len(found) == 1:
            return found[0]
        known = ", ".join(name for name in self.names if name) or "none"
        what = f'{len(found) or "no"} {self._kind.name} helper{"s" * (len(found) > 1)} with the name "{which}"'
        reason, hint = ("several-helpers", f'use named("{which}")') if found else ("not-wired", f"the names: {known}")
        raise LanemeshError(
            Fault(
                code=Code.FAILED_PRECONDITION,
                reason=reason,
                message=f"{self._component} has {what}; {hint}",
                details={"component": self._component},
            )
        )

    def __iter__(self) -> Iterator[T]:
        return iter([helper for _, helper in self._named])

    def __len__(self) -> int:
        return len(self._named)

    def only(self) -> T | None:
        """The default helper: the only one, or the only one without a name; None if there is none.

        Raises:
            LanemeshError: several helpers qualify ("several-helpers").
        """
        unnamed = self.named("")
        candidates = unnamed if len(self._named) > 1 and len(unnamed) == 1 else list(self)
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        several = f"context.{self._kind.several}"
        raise LanemeshError(
            Fault(
                code=Code.FAILED_PRECONDITION,
                reason="several-helpers",
                message=f"{self._component} has {len(self)} {self._kind.name} helpers; use {several}[0], or {several}[name]",
                details={"component": self._component},
            )
        )
