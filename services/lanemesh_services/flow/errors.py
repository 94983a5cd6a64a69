"""The errors of the flow nodes. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


class FlowError(LanemeshError):
    """An item, an expression or a setting of a flow node cannot be used."""


def flow_error(reason: str, message: str, code: Code = Code.INVALID_ARGUMENT, **details: str) -> FlowError:
    """An error with this reason and message."""
    return FlowError(Fault(code=code, reason=reason, message=message, details=details))


def bad_setting(provider: str, setting: str, why: str, hint: str) -> FlowError:
    """A setting of a component cannot be used."""
    message = f"{provider}: config.{setting} {why}. {hint}"
    return flow_error("bad-flow-setting", message, Code.FAILED_PRECONDITION, setting=setting)


def bad_expression(setting: str, expression: str, why: str, hint: str) -> FlowError:
    """An expression in a setting cannot be used."""
    message = f"config.{setting}: the expression `{expression:.200}` {why}. {hint}"
    return flow_error("bad-expression", message, Code.FAILED_PRECONDITION, setting=setting)


def expression_failed(setting: str, expression: str, item: str, why: str) -> FlowError:
    """An expression fails for an item."""
    message = f"config.{setting}: the expression `{expression:.200}` fails for {item}: {why}"
    return flow_error("expression-failed", message, setting=setting)
