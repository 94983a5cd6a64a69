"""Tools made of the functions of a Python file."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lanemesh.chat import ToolProgress, ToolResult
from lanemesh.control.instance import HelperInstance
from lanemesh.control.links import LocalLink
from lanemesh.control.tools import LinkedTools, ToolSet
from lanemesh.faults import LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.node.context import Context
from lanemesh.v1 import update_pb2
from lanemesh.values import ToolCall
from lanemesh_services.tools.python import ToolPython

FILE = '''
import asyncio
from dataclasses import dataclass
from typing import Annotated, Literal
from pydantic import Field
from lanemesh import ToolProgress as Progress

@dataclass
class Point:
    x: int
    y: int = 0

def add(a: int, b: Annotated[int, Field(description="The other one.", ge=0)] = 1) -> int:
    """Adds two numbers.

    Use it for sums."""
    return a + b

def where(json: Point, _unit: Literal["m", "km"] = "m", /) -> Point:
    return json

async def later(text: str) -> str:
    await asyncio.sleep(0)
    return text * 2

async def steps(n: int):
    for i in range(n):
        yield Progress(f"step {i}", i / n)
    yield {"done": n}

def sync_steps(n: int):
    yield Progress("begun")
    yield n

def thread() -> str:
    import threading
    return threading.current_thread().name

def fails(): raise KeyError("lost")
def odd(): return object()
def nan(): return float("nan")
def twice():
    yield 1
    yield 2
async def hang():
    await asyncio.Event().wait()
def _private(x): ...
'''

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of tools; returns its path."""

    def make(text: str) -> str:
        path = tmp_path / "my_tools.py"
        path.write_text(text)
        return str(path)

    return make


async def tools_of(**config: Any) -> ToolSet:
    async def report(update: update_pb2.Update) -> None:
        pass

    node = ToolPython()
    node.config = ToolPython.Config(**config)
    node.resource = await ToolPython.load(node.config)
    context = Context(run_id="r", component="tool_1", provider="tool_python", report=report)
    link = LocalLink(HELPER_KINDS["tool"], HelperInstance(node, context), invoker="agent_1")
    return ToolSet([LinkedTools(link)])


async def call(tools: ToolSet, name: str, **arguments: Any) -> Any:
    events = [event async for event in tools.stream(ToolCall("1", name, json.dumps(arguments)))]
    results = [event for event in events if isinstance(event, ToolResult)]
    assert len(results) == 1
    assert not results[0].is_error, results[0].content
    return results[0].value


async def error_of(tools: ToolSet, name: str, **arguments: Any) -> dict[str, Any]:
    """The error that a call results in."""
    events = [event async for event in tools.stream(ToolCall("1", name, json.dumps(arguments)))]
    assert isinstance(events[-1], ToolResult)
    assert events[-1].is_error
    error: dict[str, Any] = events[-1].value
    return error


async def test_happy_every_public_function_is_a_tool_with_description_and_schema(write: Write) -> None:
    specs = {spec.name: spec for spec in await (await tools_of(file=write(FILE))).specs()}
    assert set(specs) == {
        *["add", "where", "later", "steps", "sync_steps", "thread", "fails", "odd", "nan", "twice", "hang"]
    }
    assert specs["add"].description == "Adds two numbers.\n\nUse it for sums."
    assert specs["add"].parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "integer", "minimum": 0, "default": 1, "description": "The other one."},
        },
        "required": ("a",),
        "additionalProperties": False,
    }
    assert set(specs["where"].parameters["properties"]) == {"json", "_unit"}


async def test_happy_functions_of_every_sort_are_called(write: Write) -> None:
    tools = await tools_of(file=write(FILE))
    assert await call(tools, "add", a=1) == 2
    assert await call(tools, "add", a="4", b=2) == 6
    assert await call(tools, "where", json={"x": 3}) == {"x": 3, "y": 0}
    assert await call(tools, "later", text="ab") == "abab"
    assert await call(tools, "steps", n=2) == {"done": 2}
    assert await call(tools, "sync_steps", n=2) == 2


async def test_happy_plain_functions_run_in_worker_threads(write: Write) -> None:
    assert await call(await tools_of(file=write(FILE)), "thread") != threading.current_thread().name


async def test_happy_a_choice_of_functions(write: Write) -> None:
    tools = await tools_of(file=write(FILE), functions=["later", "add"])
    assert [spec.name for spec in await tools.specs()] == ["later", "add"]


async def test_happy_a_module(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    assert await call(await tools_of(module="my_tools"), "add", a=1) == 2


async def test_streaming_progress_comes_before_the_result(write: Write) -> None:
    tools = await tools_of(file=write(FILE))
    *progress, result = [event async for event in tools.stream(ToolCall("7", "steps", '{"n": 2}'))]
    assert progress == [ToolProgress("step 0", 0.0, "7"), ToolProgress("step 1", 0.5, "7")]
    assert isinstance(result, ToolResult)
    assert result.call_id == "7"


async def test_error_all_invalid_arguments_are_reported(write: Write) -> None:
    tools = await tools_of(file=write(FILE))
    error = await error_of(tools, "add", a="x", b=-1, c=0)
    assert error["reason"] == "bad-arguments"
    parts = (
        "a: Input should be a valid integer, unable to parse string as an integer, not 'x'",
        "b: Input should be greater than or equal to 0, not -1",
        "c: there is no such parameter; the parameters: a, b",
    )
    for part in parts:
        assert part in error["error"]
    assert error["arguments"][0]["accepted"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fails", "KeyError: 'lost'"),
        ("odd", "the tool odd returned <object object at .*, which is not JSON"),
        ("nan", "the tool nan returned nan, which is not JSON"),
    ],
)
async def test_error_a_call_that_fails(write: Write, name: str, told: str) -> None:
    error = await error_of(await tools_of(file=write(FILE)), name)
    assert re.match(told, error["error"])


async def test_error_an_unknown_tool(write: Write) -> None:
    with pytest.raises(LanemeshError, match='there is no tool "sing"; the tools: add, where'):
        await call(await tools_of(file=write(FILE)), "sing")


async def test_error_the_log_has_the_traceback_of_the_tools_file(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    await error_of(await tools_of(file=write(FILE)), "fails")
    (line,) = [record.getMessage() for record in caplog.records if "the tool fails failed" in record.getMessage()]
    assert "my_tools.py" in line
    assert "lanemesh/tools" not in line


async def test_happy_the_last_value_of_a_generator_without_return_is_its_result(write: Write) -> None:
    progress, result = [event async for event in (await tools_of(file=write(FILE))).stream(ToolCall("1", "twice", ""))]
    assert progress == ToolProgress("1", None, "1") or progress == ToolProgress("", 1.0, "1")
    assert isinstance(result, ToolResult)
    assert result.value == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "def f(x): ...",
            r"the function f in .*my_tools.py cannot be a tool: no type hint for x. Write for example \"x: str\"",
        ),
        ("def f(*x: int): ...", "it takes [*]x. Name every parameter"),
        ("def f(x: 'Nowhere'): ...", "a type hint cannot be resolved .*Nowhere"),
        ("class A: ...\ndef f(x: A): ...", "JSON cannot express one of its types"),
        ("x = 1", "it defines no public functions"),
        ("import nothing_like_it", r"cannot be imported: ModuleNotFoundError.*my_tools.py\", line 1"),
        ("def f(:", r"cannot be imported: SyntaxError.*line 1"),
    ],
)
async def test_error_a_file_that_gives_no_tools(write: Write, text: str, told: str) -> None:
    with pytest.raises(LanemeshError, match=told):
        await tools_of(file=write(text))


async def test_error_a_file_or_function_that_is_not_there(write: Write, tmp_path: Path) -> None:
    with pytest.raises(LanemeshError, match=r"tool_python cannot use gone.py: there is no file /.*gone.py. Correct"):
        await tools_of(file="gone.py")
    with pytest.raises(LanemeshError, match=r'it has no function "sub". Its functions: add, where'):
        await tools_of(file=write(FILE), functions=["sub"])
    with pytest.raises(LanemeshError, match="neither file nor module is set"):
        await tools_of()
    with pytest.raises(LanemeshError, match="both file and module are set"):
        await tools_of(file="a.py", module="b")


async def test_shutdown_a_call_is_cancelled_with_its_caller(write: Write) -> None:
    tools = await tools_of(file=write(FILE))
    task = asyncio.create_task(call(tools, "hang"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)


async def test_happy_the_tools_of_the_example() -> None:
    tools = await tools_of(file=str(Path(__file__).parents[3] / "examples/agent_tools.py"))
    assert await call(tools, "calculate", expression="-2 * (3 + 4) / 7") == -2
    assert (await call(tools, "weather", city="Oslo"))["degrees"] == 9
    assert "no station in Atlantis" in (await error_of(tools, "weather", city="Atlantis"))["error"]


DECORATED = '''
import asyncio, decimal, functools, datetime, uuid
from typing import Annotated
import numpy as np
from pydantic import Field
from lanemesh import ToolProgress as Progress

def _logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@functools.lru_cache
def cached(x: int) -> int:
    """One that remembers."""
    return x + 1

@_logged
async def awaited(x: int) -> int:
    await asyncio.sleep(0)
    return x + 2

@_logged
async def steps(x: int):
    yield Progress("begun")
    yield x + 3

@_logged
def sync_steps(x: int):
    with decimal.localcontext() as own:
        own.prec = 50
        yield Progress("begun")
        yield len(str(decimal.Decimal(x) / 7))

def _add(x: int, y: int) -> int:
    """A sum."""
    return x + y

partial = functools.partial(_add, y=5)

class _Adder:
    """Adds six."""
    def __call__(self, x: int) -> int:
        return x + 6
    def method(self, x: int) -> int:
        return x + 7

called = _Adder()
bound = _Adder().method

class _Untyped:
    def __call__(self, x):
        return x

untyped = _Untyped()
imported = asyncio.sleep

def weather(city: str = Field(default="Oslo", description="Its name."), days: int = Field(description="How many.", ge=1)) -> str:
    return f"{city} {days}"

def made(cities: list[str] = Field(default_factory=lambda: ["Oslo"])) -> str:
    return ",".join(cities)

def aliased(city: str = Field(default="Oslo", alias="town")) -> str:
    return city

def inside(city: Annotated[str, Field(default="Oslo")]) -> str:
    return city

def numbers() -> list:
    return [np.int64(3), np.float32(0.5), np.bool_(True), np.array([1, 2]), np.array(4), np.str_("x"), {np.int64(1)}]

def values() -> list:
    return [decimal.Decimal("1.5"), datetime.date(2020, 1, 2), uuid.UUID(int=7), (1,)]
'''


async def test_happy_decorated_partial_and_callable_objects_are_tools(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    tools = await tools_of(file=write(DECORATED))
    specs = {spec.name: spec for spec in await tools.specs()}
    assert not {"untyped", "imported"} & set(specs)
    assert [record.message.split(" ", 1)[0] for record in caplog.records] == ["untyped"]
    results = {name: await call(tools, name, x=0) for name in specs if "x" in specs[name].parameters["properties"]}
    assert results == {"cached": 1, "awaited": 2, "steps": 3, "sync_steps": 1, "partial": 5, "called": 6, "bound": 7}
    assert await call(tools, "sync_steps", x=1) == 52
    assert (specs["partial"].description, specs["called"].description) == ("A sum.", "Adds six.")
    assert list(specs["partial"].parameters["properties"]) == ["x"]
    assert await call(await tools_of(file=write(DECORATED), functions=["called", "partial"]), "partial", x=1) == 6


async def test_happy_a_field_gives_default_description_and_constraints(write: Write) -> None:
    tools = await tools_of(file=write(DECORATED))
    (weather,) = [spec.parameters for spec in await tools.specs() if spec.name == "weather"]
    assert weather["properties"] == {
        "city": {"default": "Oslo", "description": "Its name.", "type": "string"},
        "days": {"description": "How many.", "minimum": 1, "type": "integer"},
    }
    assert weather["required"] == ("days",)
    assert await call(tools, "weather", days=2) == "Oslo 2"
    assert [await call(tools, name) for name in ("made", "aliased", "inside")] == ["Oslo", "Oslo", "Oslo"]
    assert await call(tools, "aliased", town="Bergen") == "Bergen"
    for wrong in ({}, {"days": 0}):
        assert "days" in (await error_of(tools, "weather", **wrong))["error"]


async def test_happy_numpy_and_other_values_are_results(write: Write) -> None:
    tools = await tools_of(file=write(DECORATED))
    assert await call(tools, "numbers") == [3, 0.5, True, [1, 2], 4, "x", [1]]
    assert await call(tools, "values") == ["1.5", "2020-01-02", "00000000-0000-0000-0000-000000000007", [1]]


MARKED = '''
from lanemesh import ToolContext, tool

@tool
def marked(x, context: ToolContext):
    """Has no types."""
    return [x, context.secrets["key"]]

@tool(name="renamed")
def other() -> str:
    return "other"

def helper(x: int) -> int:
    return x
'''


async def test_happy_marked_functions_are_the_tools_of_a_file_with_some(write: Write) -> None:
    tools = await tools_of(file=write(MARKED), secrets={"key": "s3cret"})
    assert [spec.name for spec in await tools.specs()] == ["marked", "renamed"]
    assert await call(tools, "marked", x=1) == [1, "s3cret"]
    assert await call(tools, "renamed") == "other"
    assert [spec.name for spec in await (await tools_of(file=write(MARKED), functions=["helper"])).specs()] == [
        "helper"
    ]


async def test_error_two_functions_of_a_file_with_one_name(write: Write) -> None:
    text = MARKED + "\n@tool(name='renamed')\ndef more(): ..."
    with pytest.raises(LanemeshError, match=r'two of its functions are the tool "renamed". Give one of them another'):
        await tools_of(file=write(text))
