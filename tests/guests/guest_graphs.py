"""Graphs of LangGraph for the tests of guests."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph


def two_steps(model: Any, tools: list[Any]) -> Any:
    """Asks the model, then adds a remark."""

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def remark(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("That is all.")]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("remark", remark)
    builder.add_edge(START, "think")
    builder.add_edge("think", "remark")
    builder.add_edge("remark", END)
    return builder.compile()


def instructed(model: Any, tools: list[Any]) -> Any:
    """Answers with the instructions that it has got."""

    def repeat(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(str([one.text for one in state["messages"] if one.type == "system"]))]}

    builder = StateGraph(MessagesState)
    builder.add_node("repeat", repeat)
    builder.add_edge(START, "repeat")
    builder.add_edge("repeat", END)
    return builder.compile()


def nothing(model: Any, tools: list[Any]) -> Any:
    """Builds no graph."""
    return None
