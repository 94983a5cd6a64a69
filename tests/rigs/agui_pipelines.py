"""Pipelines that are agents of AG-UI."""

from __future__ import annotations

from typing import Any

from rigs.runs import NODES, RIGS, line, node

NODE_FILES = [NODES, RIGS / "session_nodes.py"]
"""Node types of the pipelines."""
ADD = {"tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}
"""A turn of a model that calls a tool."""


def model(*script: Any, lane: str = "answers", **config: Any) -> dict[str, Any]:
    """A pipeline whose model replays a script, or repeats the question."""
    entry = {"id": "llm", "provider": "llm_scripted", "config": {"script": list(script), **config}}
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {**entry, "input": [{"lane": "questions", "from": "chat"}]},
            {"id": "out", "provider": "response", "input": [{"lane": lane, "from": "llm"}]},
        ]
    }


def agent(*script: Any, **config: Any) -> dict[str, Any]:
    """An agent whose model replays a script."""
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {
                "id": "agent",
                "provider": "agent_wave",
                "config": config,
                "input": [{"lane": "questions", "from": "chat"}],
            },
            {
                "id": "model",
                "provider": "llm_scripted",
                "config": {"script": list(script)},
                "control": [{"classType": "llm", "from": "agent"}],
            },
            {
                "id": "tools",
                "provider": "tool_python",
                "config": {"file": str(RIGS / "agent_tools.py")},
                "control": [{"classType": "tool", "from": "agent"}],
            },
            {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "agent"}]},
        ]
    }


PIPELINES = {
    "words": model("one two three"),
    "text": model("one two three", lane="text"),
    "calls": model({"tool_calls": [{"name": "look", "arguments": {"at": "a"}}]}, "It is blue."),
    "broken": model({"text": "one two", "fail": "the model broke"}),
    "repeats": line(node("a", "tag", "chat", mark="+")),
    "session": line(node("a", "teller", "chat")),
    "hangs": line(node("a", "hang", "chat")),
    "adds": agent({"text": "I add.", **ADD}, "It is 3."),
    "asks": agent(ADD, "Done.", approve=["add"]),
    "asks_twice": agent({"tool_calls": ADD["tool_calls"] * 2}, "Done.", approve=["add"]),
}
"""By name."""
