"""The evaluator of CEL with its work counted: no expression takes more steps or bytes than `Work` allows.

The library evaluates trees of its grammar. What is replaced here is what takes unbounded time or memory for a bounded number of
steps: variables in the texts of errors, errors within errors, and literals that are read anew at each step.
"""

from __future__ import annotations

from typing import Any

from celpy import celtypes
from celpy.evaluation import Activation, CELEvalError, Evaluator

from lanemesh_services.flow.cel_functions import functions
from lanemesh_services.flow.work import Work

_STEPS = frozenset({"member", "unary_not", "unary_neg"})
"""The parts of an expression that count as steps: each name, literal, call and selection is a member."""
_LEVELS = frozenset({"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary"})
"""The levels of the grammar. One without an operator has the value of the next one."""


def literals(tree: Any) -> dict[int, Any]:
    """The values of the literals in a parsed expression, by the identities of their nodes. Raises CELEvalError if one has none."""
    evaluator = Evaluator(tree, Activation())
    values = {id(node): evaluator.literal(node) for node in tree.find_data("literal")}
    for value in values.values():
        if isinstance(value, CELEvalError):
            raise value
    return values


def evaluate(tree: Any, known: dict[int, Any], variables: dict[str, Any], work: Work) -> Any:
    """The value of a parsed expression with these literals.

    Raises:
        CELEvalError: it has none.
        TooMuch: it needs too much.
    """
    return _Evaluator(tree, _Scope(functions=functions(work)), work, known).evaluate(variables)


class _Scope(Activation):  # type: ignore[misc]
    """Variables and functions. Errors name it, so its text is short."""

    def __repr__(self) -> str:
        return "the variables"

    def clone(self) -> _Scope:
        scope = _Scope()
        scope.identifiers, scope.functions, scope.package = self.identifiers.clone(), self.functions, self.package
        return scope


class _Evaluator(Evaluator):  # type: ignore[misc]
    def __init__(self, tree: Any, scope: Activation, work: Work, known: dict[int, Any]) -> None:
        super().__init__(tree, scope)
        self._work, self._known = work, known

    def _visit_tree(self, tree: Any) -> Any:
        while tree.data in _LEVELS and len(tree.children) == 1:
            tree = tree.children[0]
        if tree.data in _STEPS:
            self._work.step()
        return super()._visit_tree(tree)

    def sub_evaluator(self, ast: Any) -> _Evaluator:
        """An evaluator of a macro's body."""
        return _Evaluator(ast, self.activation, self._work, self._known)

    def set_activation(self, values: Any) -> _Evaluator:
        """Sets the variables. Each evaluation of a macro's body does so."""
        self._work.step()
        super().set_activation(values)
        return self

    def literal(self, tree: Any) -> Any:
        """The value of a literal."""
        return self._known[id(tree)]

    def mapinits(self, tree: Any) -> Any:
        """A map. Its keys are in the error for one that is there twice."""
        parts = self.visit_children(tree)
        for part in parts:
            if isinstance(part, CELEvalError):
                return part
        for key in parts[::2]:
            self._work.walk(key)
        return celtypes.MapType(list(zip(parts[::2], parts[1::2], strict=True)))

    def member_dot(self, tree: Any) -> Any:
        """A field of a map."""
        member, name = self.visit(tree.children[0]), str(tree.children[1])
        if isinstance(member, CELEvalError):
            return member
        if not isinstance(member, celtypes.MapType):
            why = f"a value of type '{type(member).__name__}' has no fields, such as {name!r}"
            return CELEvalError(why, TypeError, None, tree=tree)
        if name not in member:
            return CELEvalError(f"no such member in mapping: {name!r}", KeyError, None, tree=tree)
        return member[name]

    def member_dot_arg(self, tree: Any) -> Any:
        """A method or a macro."""
        name = str(tree.children[1])
        if name in ("exists", "all"):
            return self._quantified(tree, name == "exists")
        if name == "min":
            members = self.visit(tree.children[0])
            return members if isinstance(members, CELEvalError) else self._least(members, tree)
        return super().member_dot_arg(tree)

    def _quantified(self, tree: Any, wanted: bool) -> Any:
        """Whether a condition is `wanted` for one of the elements; if so, errors for others do not count."""
        members = self.visit(tree.children[0])
        if isinstance(members, CELEvalError):
            return members
        condition = self.build_ss_macro_eval(tree)
        outcome: Any = celtypes.BoolType(not wanted)
        for member in members:
            value = condition(member)
            if isinstance(value, CELEvalError):
                outcome = value
            elif not isinstance(value, celtypes.BoolType):
                outcome = CELEvalError(f"a condition is {type(value).__name__}", TypeError, None, tree=tree)
            elif bool(value) is wanted:
                return value
        return outcome

    def _least(self, members: Any, tree: Any) -> Any:
        self._work.walk(members)
        try:
            return min(members)
        except (TypeError, ValueError) as error:
            return CELEvalError("only numbers, or only texts, have a least one", type(error), None, tree=tree)
