"""Tools for agent.pipe: the functions below `@tool`. The model gets their docstrings as descriptions."""

from __future__ import annotations

import ast
import asyncio
import operator
from typing import Annotated, Any

from lanemesh import ToolContext, tool
from pydantic import Field

_WEATHER = {"oslo": ("rain", 9), "lisbon": ("sunny", 24), "nairobi": ("cloudy", 21)}
_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@tool(timeout=10)
async def weather(city: str, context: ToolContext) -> dict[str, Any]:
    """Today's weather in a city: the sky, and the temperature in degrees Celsius.

    Args:
        city: Name of the city, in English.
    """
    context.progress(f"asking the station in {city}", 0.5)
    await asyncio.sleep(0.2)  # a real tool would call a service here
    if city.lower() not in _WEATHER:
        raise LookupError(f"no station in {city}; there are some in {', '.join(_WEATHER)}")
    sky, degrees = _WEATHER[city.lower()]
    return {"city": city, "sky": sky, "degrees": degrees}


@tool
def calculate(expression: Annotated[str, Field(description='Such as "2 * (3 + 4)".', max_length=200)]) -> float:
    """The value of an arithmetic expression with + - * / and parentheses."""
    return _value(ast.parse(expression, mode="eval").body)


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return float(_OPERATORS[type(op)](_value(left), _value(right)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
    raise ValueError("only numbers, + - * / and parentheses")
