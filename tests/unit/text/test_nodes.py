"""The nodes of the text service."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.node.manifest import manifest_of
from lanemesh.testing import run_node
from lanemesh_services.text import SERVICE
from lanemesh_services.text.count import Count
from lanemesh_services.text.json_objects import JsonObjects
from lanemesh_services.text.pieces import JoinText, SplitText, UpperCase

from .conftest import Feed, context_of, drive


def test_happy_the_service_has_its_nodes() -> None:
    providers = [manifest_of(node, "text").provider for node in SERVICE.nodes]
    assert providers == ["upper_case", "split_text", "join_text", "json_objects", "count"]


def test_happy_upper_case() -> None:
    assert run_node(UpperCase, text=["straße", "", "a"]).upper == ["STRASSE", "", "A"]


@pytest.mark.parametrize(
    ("pieces", "config", "parts"),
    [
        (["a\nb", "c\n\nd"], {}, ["a", "bc", "d"]),
        (["a\nb\n"], {"keep": True}, ["a\n", "b\n"]),
        (["a-", "-b--", "-c"], {"separator": "--"}, ["a", "b", "-c"]),
        (["abcdefg\nh"], {"size": 3}, ["abc", "def", "g", "h"]),
        (["abc", "def", "g"], {"size": 3}, ["abc", "def", "g"]),
        ([], {}, []),
    ],
)
async def test_happy_split_text(pieces: list[str], config: dict[str, Any], parts: list[str]) -> None:
    assert await drive(SplitText, Feed(pieces), **config) == parts


async def test_happy_join_text() -> None:
    node: Any = JoinText()
    node.config, node.text = JoinText.Config(separator=", "), ["a", "b"]
    assert await node.process(context_of(JoinText)) == {"joined": "a, b"}


async def test_happy_count() -> None:
    assert await drive(Count, Feed(["ab", "c"])) == [{"items": 2, "characters": 3}]


async def test_streaming_a_json_object_goes_out_while_the_text_still_comes() -> None:
    feed = Feed(['Sure: {"a":', " 1}"])
    node: Any = JsonObjects()
    node.config = JsonObjects.Config.model_validate({})
    task = asyncio.create_task(node.run(context_of(JsonObjects), feed, feed))
    assert await asyncio.wait_for(feed.emitted.get(), 5) == ("objects", {"a": 1})
    assert not task.done()
    feed.pieces.put_nowait(None)
    await asyncio.wait_for(task, 5)


async def test_error_an_object_that_is_cut_off_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await drive(JsonObjects, Feed(['{"a": 1} {"b": {"c": 2}'])) == [{"a": 1}]
    assert 'which is dropped: {"b": {"c": 2}' in caplog.text


async def test_error_an_object_over_the_limit_names_it() -> None:
    with pytest.raises(
        LanemeshError, match=r"json_objects_1: a JSON object is longer than 10 characters; .*Raise config.size"
    ):
        await drive(JsonObjects, Feed(['{"a": "0123456789"}']), size=10)


async def test_shutdown_a_cancelled_node_stops_at_once() -> None:
    feed = Feed(["a\n"])
    node: Any = SplitText()
    node.config = SplitText.Config.model_validate({})
    task = asyncio.create_task(node.run(context_of(SplitText), feed, feed))
    await asyncio.wait_for(feed.emitted.get(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
