"""Variables of clients' documents: `${NAME}` in a document of a client never reads the environment of the orchestrator."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from lanemesh.client.variables import VARIABLE_NAME
from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.pipeline.faults import PipelineFault, PipelineInvalid

MAX_VARIABLES = 256
"""Maximum number of variables that a client sends with a run."""
MAX_NAME = 256
"""Maximum length of the name of a variable, in characters."""
MAX_CHARACTERS = 256 * 1024
"""Maximum number of characters of all values that a client sends with a run."""
MAX_INSERTED = 16 * 1024 * 1024
"""Maximum number of characters that variables insert into the configs of one document, together with the JSON pointers to the
places."""

_NAME = re.compile(VARIABLE_NAME)


class ClientVariables(dict[str, str]):
    """The variables that a client's document may use: those that the operator allows, and those sent with the run."""

    of_operator: frozenset[str] = frozenset()
    """The names of those whose value is the operator's."""
    plain: frozenset[str] = frozenset()
    """The names of those of the operator whose value clients may see. The others are secret."""


class Insertions:
    """Counts what variables insert into the configs of one document."""

    def __init__(self) -> None:
        self._characters = 0

    def add(self, value: str, origin: str) -> None:
        """Counts one value, which is inserted at `origin` of the document. Raises PipelineInvalid if that is too much in all."""
        self._characters += len(value) + len(origin)
        if self._characters > MAX_INSERTED:
            message = (
                f"The variables have more than {MAX_INSERTED:,} characters where they are inserted (MAX_INSERTED)."
            )
            hint = "Name variables less often, or give them shorter values."
            raise PipelineInvalid([PipelineFault(origin, "too-large", message, hint)])


def check_sent(sent: Mapping[str, str]) -> None:
    """Checks the variables that are sent with a run, for every kind of caller.

    Raises:
        LanemeshError: "bad-variables": too many are sent, they are too large, or a name is invalid.
    """
    if len(sent) > MAX_VARIABLES:
        raise _refused(f"{len(sent):,} variables are sent; at most {MAX_VARIABLES} (MAX_VARIABLES) are accepted")
    if sum(map(len, sent.values())) > MAX_CHARACTERS:
        raise _refused(f"the variables have more than {MAX_CHARACTERS:,} characters (MAX_CHARACTERS)")
    for name in sent:
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise _refused(
                f"{name[:80]!r} is not a valid name of a variable: use letters, digits and _, at most {MAX_NAME}"
            )


def client_variables(
    allowed: Mapping[str, str], sent: Mapping[str, str], plain: Collection[str] = ()
) -> ClientVariables:
    """The variables for a client's document. Those sent win. `plain` names the allowed ones that clients may see."""
    variables = ClientVariables({**allowed, **sent})
    variables.of_operator = frozenset(allowed.keys() - sent.keys())
    variables.plain = variables.of_operator.intersection(plain)
    return variables


def is_of_operator(name: str, environment: Mapping[str, str]) -> bool:
    """Whether a client's document gets the operator's value of a variable."""
    return isinstance(environment, ClientVariables) and name in environment.of_operator


def is_plain(name: str, environment: Mapping[str, str]) -> bool:
    """Whether a client's document gets the operator's value of a variable that clients may see."""
    return isinstance(environment, ClientVariables) and name in environment.plain


def not_secret(name: str, provider: str, setting: str) -> tuple[str, str]:
    """The message and the hint for a secret variable of the operator in a setting that is no secret."""
    return (
        f"The operator's variable {name} is secret, but `{setting}` is not a secret setting of {provider}: clients could see it.",
        f"Use {name} in settings that are secret, such as keys, send a value of your own with the run, or have the operator "
        f"declare that clients may see it: `lanemesh serve --plain-variable {name}`.",
    )


def missing(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The message and the hint for a variable that is not there."""
    if not isinstance(environment, ClientVariables):
        return (
            f"The environment variable {name} is not set.",
            f"Set {name}, or write $${{{name}}} for the text itself.",
        )
    known = ", ".join(sorted(environment)[:20]) or "none"
    return (
        f"The variable {name} is not available: documents of clients do not read the orchestrator's environment.",
        f"Send it with the run (`lanemesh run` sends it if it is set where you call it; in Python `variables={{...}}`), "
        f"or have the operator allow it: `lanemesh serve --variable {name}`, or `--plain-variable {name}` if clients may see it. "
        f"Available: {known}.",
    )


def _refused(message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-variables", message=message))
