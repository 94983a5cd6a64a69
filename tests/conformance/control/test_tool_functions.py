"""Tools that are functions: what models see of them, how they are called, and what of their misbehaviour reaches their invoker."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from lanemesh import (
    Context,
    Document,
    Image,
    LanemeshError,
    ToolCall,
    ToolContext,
    ToolNode,
    ToolProgress,
    ToolResult,
    tool,
)
from lanemesh.chat import ToolEvent
from lanemesh.control.tools import ToolSet
from lanemesh.faults import NodeDefinitionError
from lanemesh.redaction import Secrets
from lanemesh.values import Media
from pydantic import BaseModel, Field

from .conftest import Reach, Seen, helper_of, seen_by

PIXEL = Image("image/png", b"\x89PNG", width=2, height=1)


class Unit(Enum):
    """A unit."""

    METRE = "m"
    MILE = "mi"


class Place(BaseModel):
    """A place."""

    city: str
    country: str = Field("no", min_length=2, max_length=2)


@dataclass
class Reading:
    """A measurement."""

    degrees: float
    on: date


class Station(ToolNode):
    """A weather station."""

    class Config(BaseModel):
        """Settings with a secret."""

        secrets: dict[str, str] = {}

    seen: Seen
    polling: threading.Event
    polled: threading.Event

    @tool
    async def forecast(
        self, place: Place, days: Annotated[int, Field(ge=1, le=9)] = 3, unit: Unit = Unit.METRE, on: date | None = None
    ) -> dict[str, Any]:
        """Tomorrow's weather.

        Args:
            place: Where.
            days: How many days.
        """
        return {"city": place.city, "days": days, "unit": unit.value, "on": on, "resource": self.resource}

    @tool(name="sum-up", description="Adds.")
    def add(self, numbers: list[int], kind: Literal["all", "odd"] = "all") -> int:
        return sum(number for number in numbers if kind == "all" or number % 2)

    @tool
    def untyped(self, x, y=2):  # type: ignore[no-untyped-def]
        """Joins.

        :param x: the first
        :param int y: the second
        """
        return [x, y]

    @tool
    @staticmethod
    def static(x: int) -> int:
        return x + 1

    @staticmethod
    @tool
    def static_below(x: int) -> int:
        return x + 2

    @tool
    @classmethod
    def of_class(cls, x: int) -> str:
        return f"{cls.__name__} {x}"

    @tool
    def measure(self) -> list[Reading]:
        return [Reading(1.5, date(2020, 1, 2))]

    @tool
    def picture(self) -> list[Any]:
        return ["a picture", PIXEL, {"found": Document("body", source="a.txt", embedding=(1.0,))}]

    @tool
    def steps(self, n: int) -> Iterator[str]:
        for step in range(n):
            yield f"step {step}"
        return n  # type: ignore[return-value]

    @tool
    async def later_steps(self, n: int) -> AsyncIterator[Any]:
        yield "begun"
        for step in range(n):
            yield ToolProgress("half", step / n)
        yield {"done": n}

    @tool
    async def about(self, context: ToolContext) -> dict[str, Any]:
        await context.progress("looking", 0.5)
        where = [context.run_id, context.component, context.session]
        return {"call": context.call_id, "tool": context.tool, "key": context.secrets["key"], "where": where}

    @tool
    def in_thread(self, context: ToolContext, node: Context) -> str:
        context.progress("from a thread")
        return f"{node.component} {threading.current_thread() is not threading.main_thread()}"

    @tool
    def poll(self, context: ToolContext) -> None:
        self.polling.set()
        while not context.cancelled:
            time.sleep(0.005)
        self.polled.set()

    @tool(timeout=0.1)
    async def slow(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.closed.set()

    @tool(timeout=0.1)
    def slow_thread(self) -> None:
        self.seen.nodes.append(threading.Event().wait(30))

    @tool(timeout=0.1)
    async def stubborn(self) -> None:
        while True:
            try:
                await self.seen.closed.wait()
                return
            except asyncio.CancelledError:
                continue

    @tool
    async def hang(self) -> None:
        self.seen.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.closed.set()

    @tool
    async def misbehave(self, how: str) -> Any:
        return self._misbehaviour(how)

    @tool
    def misbehave_in_thread(self, how: str) -> Any:
        return self._misbehaviour(how)

    def _misbehaviour(self, how: str) -> Any:
        match how:
            case "raise":
                raise ValueError("lost")
            case "base":
                raise BaseException("deep")
            case "exit":
                sys.exit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "cancel":
                raise asyncio.CancelledError
            case "secret":
                raise ValueError("no access with s3cr3t-key")
            case "print":
                print("on the console")
                return "quiet"
            case "20 MB":
                return "x" * 20_000_000
            case "20 MB image":
                return Image("image/png", b"x" * 20_000_000)
            case "nan":
                return [float("nan")]
            case "bytes":
                return b"\xff\xfe"
            case "object":
                return object()
            case "cycle":
                made: list[Any] = []
                made.append(made)
                return made
            case "no text":
                return ToolResult({"a": 1})  # type: ignore[arg-type]
            case "media":
                return Media("image/png", b"x")
            case "surrogate":
                return "\ud800"
        return None


def station(**more: Any) -> Any:
    """A helper with the tools."""
    return helper_of(Station, "station_1", resource="sun", config=Station.Config(secrets={"key": "s3cr3t-key"}), **more)


async def events_of(tools: ToolSet, name: str, arguments: Any = "") -> list[ToolEvent]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return [event async for event in tools.stream(ToolCall("c1", name, text))]


async def result_of(tools: ToolSet, name: str, arguments: Any = "") -> ToolResult:
    result = (await events_of(tools, name, arguments))[-1]
    assert isinstance(result, ToolResult)
    return result


@pytest.fixture
async def tools(reach: Reach) -> ToolSet:
    """The tools of a station."""
    return ToolSet([await reach.tools(station())])


async def test_happy_schema_and_descriptions_come_from_signature_docstring_and_pydantic(tools: ToolSet) -> None:
    specs = {spec.name: spec for spec in await tools.specs()}

    assert specs["forecast"].description == "Tomorrow's weather."
    properties = specs["forecast"].parameters["properties"]
    assert properties["place"] == {"$ref": "#/$defs/Place", "description": "Where."}
    expected = {"default": 3, "minimum": 1, "maximum": 9, "type": "integer", "description": "How many days."}
    assert properties["days"] == expected
    assert properties["on"]["anyOf"] == ({"type": "string", "format": "date"}, {"type": "null"})
    assert specs["forecast"].parameters["$defs"]["Unit"]["enum"] == ("m", "mi")
    assert specs["forecast"].parameters["required"] == ("place",)
    assert specs["sum-up"].description == "Adds."
    assert specs["sum-up"].parameters["properties"]["kind"]["enum"] == ("all", "odd")
    assert specs["untyped"].description == "Joins."
    assert specs["untyped"].parameters["properties"] == {
        "x": {"description": "the first"},
        "y": {"default": 2, "description": "the second", "type": "integer"},
    }
    assert specs["about"].parameters["properties"] == specs["in_thread"].parameters["properties"] == {}


async def test_happy_arguments_and_results_are_typed(tools: ToolSet) -> None:
    given = {"place": {"city": "Oslo"}, "unit": "mi", "on": "2020-01-02"}
    forecast = {"city": "Oslo", "days": 3, "unit": "mi", "on": "2020-01-02", "resource": "sun"}
    assert (await result_of(tools, "forecast", given)).value == forecast
    assert (await result_of(tools, "sum-up", {"numbers": [1, 2, 3], "kind": "odd"})).value == 4
    assert (await result_of(tools, "untyped", {"x": {"a": 1}})).value == [{"a": 1}, 2]
    assert (await result_of(tools, "measure")).value == [{"degrees": 1.5, "on": "2020-01-02"}]
    called = [(await result_of(tools, name, {"x": 1})).value for name in ("static", "static_below", "of_class")]
    assert called == [2, 3, "Station 1"]


async def test_happy_images_and_documents_are_parts_and_described_in_the_text(tools: ToolSet) -> None:
    result = await result_of(tools, "picture")

    assert result.parts == (PIXEL, Document("body", source="a.txt", embedding=(1.0,)))
    image = {"type": "image", "mime_type": "image/png", "bytes": 4, "width": 2, "height": 1}
    assert result.value == ["a picture", image, {"found": {"content": "body", "source": "a.txt"}}]


@pytest.mark.parametrize("empty", ["", "  ", "null", "{}", '""', '"{}"'])
async def test_happy_empty_arguments_are_none(tools: ToolSet, empty: str) -> None:
    assert not (await result_of(tools, "measure", empty)).is_error


async def test_happy_what_is_certainly_meant_is_mended(tools: ToolSet) -> None:
    given = {"place": '{"city": "Oslo"}', "days": None, "unit": "", "on": None}
    result = await result_of(tools, "forecast", given)
    assert (result.value["city"], result.value["days"], result.value["unit"]) == ("Oslo", 3, "m")
    assert (await result_of(tools, "sum-up", json.dumps(json.dumps({"numbers": [1]})))).value == 1


async def test_streaming_yields_are_progress_and_the_return_value_is_the_result(tools: ToolSet) -> None:
    *progress, result = await events_of(tools, "steps", {"n": 2})
    assert progress == [ToolProgress("step 0", None, "c1"), ToolProgress("step 1", None, "c1")]
    assert isinstance(result, ToolResult)
    assert result.value == 2


async def test_streaming_the_last_yield_of_an_asynchronous_generator_is_the_result(tools: ToolSet) -> None:
    *progress, result = await events_of(tools, "later_steps", {"n": 2})
    assert {event.message for event in progress if isinstance(event, ToolProgress)} == {"begun", "half"}
    assert isinstance(result, ToolResult)
    assert result.value == {"done": 2}


async def test_happy_the_context_is_hidden_and_reports_progress(tools: ToolSet) -> None:
    progress, result = await events_of(tools, "about")
    assert progress == ToolProgress("looking", 0.5, "c1")
    assert isinstance(result, ToolResult)
    where = ["run-1", "station_1", ""]
    assert result.value == {"call": "c1", "tool": "about", "key": "s3cr3t-key", "where": where}
    progress, result = await events_of(tools, "in_thread")
    assert progress == ToolProgress("from a thread", None, "c1")
    assert isinstance(result, ToolResult)
    assert result.value == "station_1 True"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "place: Field required"),
        ({"place": 3}, "place: Input should be an object, not 3"),
        ({"place": {"city": "Oslo", "country": "norway"}}, "place.country: String should have at most 2 characters"),
        ({"place": {"city": "Oslo"}, "days": 10}, "days: Input should be less than or equal to 9, not 10"),
        ({"place": {"city": "Oslo"}, "unit": "km"}, "unit: Input should be 'm' or 'mi', not 'km'"),
        ({"place": {"city": "Oslo"}, "town": 1}, "town: there is no such parameter; the parameters: place, days"),
        ("{", "are not JSON"),
        ("[1]", "are not a JSON object"),
        ('{"place": {"city": NaN}}', "NaN is not a JSON number"),
        ("[" * 1000, "nested deeper than 100"),
        ('{"days": 1, "days": 2}', "the key 'days' is duplicated"),
        ('{"days": 123456789012345678901234567890}', "does not fit in 64 bits"),
    ],
)
async def test_error_arguments_are_checked_before_the_call(tools: ToolSet, arguments: Any, said: str) -> None:
    result = await result_of(tools, "forecast", arguments)

    assert result.is_error
    assert result.value["reason"] == "bad-arguments"
    assert said in result.value["error"]


@pytest.mark.parametrize("name", ["misbehave", "misbehave_in_thread"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "ValueError: lost"),
        ("base", "BaseException: deep"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("cancel", "CancelledError"),
        ("20 MB", "returned 20,000,002 bytes of JSON; the limit is 4,194,304 bytes"),
        ("20 MB image", "returned 20,000,000 bytes of images and other parts"),
        ("nan", "returned [nan], which is not JSON"),
        ("bytes", r"returned b'\xff\xfe', which is not JSON"),
        ("object", "which is not JSON"),
        ("cycle", "which is not JSON"),
        ("surrogate", "which is not JSON"),
        ("no text", "the content of its result is {'a': 1}, which is no text"),
        ("media", "it is a Media of no kind; use Image, Audio or Video"),
    ],
)
async def test_error_misbehaviour_is_a_result_that_a_model_can_read(
    reach: Reach, name: str, how: str, said: str
) -> None:
    helper = station()
    tools = ToolSet([await reach.tools(helper)])

    result = await result_of(tools, name, {"how": how})

    assert result.is_error
    assert said in result.value["error"]
    assert len(result.content) < 10_000
    assert (helper.activity.calls, helper.activity.failed, helper.activity.active) == (1, 1, 0)
    assert (await result_of(tools, name, {"how": "print"})).value == "quiet"


async def test_error_a_secret_is_in_no_result(reach: Reach) -> None:
    helper = station()
    helper.context.secrets = Secrets(["s3cr3t-key"])
    tools = ToolSet([await reach.tools(helper)])

    assert (await result_of(tools, "misbehave", {"how": "secret"})).value["error"] == "ValueError: no access with ***"
    assert (await result_of(tools, "about")).value["key"] == "***"


@pytest.mark.parametrize("name", ["slow", "slow_thread", "stubborn"])
async def test_error_the_time_limit_of_a_tool_is_enforced(reach: Reach, name: str) -> None:
    helper = station()
    tools = ToolSet([await reach.tools(helper)])

    result = await result_of(tools, name)

    assert result.is_error
    assert result.value["reason"] == "tool-timeout"
    assert "did not end within 0.1 s" in result.value["error"]
    if name == "slow":
        assert seen_by(helper).closed.is_set()
    seen_by(helper).closed.set()


async def test_error_a_call_that_fails_raises_what_it_says_for_code(tools: ToolSet) -> None:
    with pytest.raises(LanemeshError, match='the tool "misbehave" failed: ValueError: lost') as caught:
        await tools["misbehave"](how="raise")
    assert caught.value.fault.reason == "tool-failed"


@pytest.mark.conformance("CTRL-10")
async def test_shutdown_cancelling_the_invoker_cancels_the_function(reach: Reach) -> None:
    helper = station()
    tools = ToolSet([await reach.tools(helper)])
    task = asyncio.create_task(result_of(tools, "hang"))
    await asyncio.wait_for(seen_by(helper).begun.wait(), 5)
    task.cancel()
    await asyncio.wait_for(seen_by(helper).closed.wait(), 10)


async def test_shutdown_a_plain_function_sees_its_cancellation(reach: Reach) -> None:
    begun, ended = threading.Event(), threading.Event()
    tools = ToolSet([await reach.tools(station(polling=begun, polled=ended))])
    task = asyncio.create_task(result_of(tools, "poll"))
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    assert await asyncio.to_thread(ended.wait, 10)


async def test_error_methods_that_cannot_be_tools_are_reported_by_name(reach: Reach) -> None:
    class Gathering(ToolNode):
        @tool
        def add(self, *numbers: int) -> int:
            return sum(numbers)

    class Twice(ToolNode):
        @tool
        def one(self) -> None: ...

        @tool(name="one")
        def two(self) -> None: ...

    class Named(ToolNode):
        @tool(name="wörter zählen")
        def one(self) -> None: ...

    for cls, said in (
        (Gathering, r"the function add in .*Gathering cannot be a tool: it takes [*]numbers"),
        (Twice, r'the function two in .*Twice cannot be a tool: the method one is also the tool "one"'),
        (Named, r'models do not accept "wörter zählen" as the name of a tool. Use at most 64'),
    ):
        with pytest.raises(LanemeshError, match=said):
            await ToolSet([await reach.tools(helper_of(cls, "tool_1"))]).specs()


def test_error_the_decorator_checks_its_arguments() -> None:
    with pytest.raises(NodeDefinitionError, match="timeout is 0; give seconds above 0"):
        tool(timeout=0)
    with pytest.raises(NodeDefinitionError, match="'name' is not a function; write @tool above `def`"):
        tool("name")  # type: ignore[call-overload]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


def test_an_object_whose_repr_fails_is_refused_as_a_tool() -> None:
    with pytest.raises(
        NodeDefinitionError, match="<Unprintable that cannot be formatted: RuntimeError was raised> is not a"
    ):
        tool(Unprintable())  # type: ignore[call-overload]


def test_happy_a_marked_function_remains_itself() -> None:
    @tool
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4
