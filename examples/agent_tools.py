"""Tools for agent.pipe: every public function with type hints is one. The model gets its docstring as the description."""

from __future__ import annotations

import ast
import asyncio
import operator
from collections.abc import AsyncIterator
from typing import Annotated, Any

from lanemesh_services.tools import Progress
from pydantic import Field

_WEATHER = {"oslo": ("rain", 9), "lisbon": ("sunny", 24), "nairobi": ("cloudy", 21)}
_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


async def weather(city: Annotated[str, Field(description="Name of the city, in English.")]) -> AsyncIterator[Any]:
    """Today's weather in a city: the sky, and the temperature in degrees Celsius."""
    yield Progress(f"asking the station in {city}", fraction=0.5)
    await asyncio.sleep(0.2)  # a real tool would call a service here
    if city.lower() not in _WEATHER:
        raise LookupError(f"no station in {city}; there are some in {', '.join(_WEATHER)}")
    sky, degrees = _WEATHER[city.lower()]
    yield {"city": city, "sky": sky, "degrees": degrees}


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
