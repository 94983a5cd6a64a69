"""Values of items as JSON, and the parts of objects that updates have in common."""

from __future__ import annotations

import json
from typing import Any, Never

from lanemesh.v1 import control_pb2, lane_pb2

Flat = dict[str, Any]
"""A JSON object."""


def present(**fields: Any) -> Flat:
    """The fields that are not empty. Numbers are never empty."""
    return {name: value for name, value in fields.items() if value or isinstance(value, int | float)}


def value_json(item: lane_pb2.Item, *, file: str = "") -> Any:
    """The value of an item as JSON."""
    field = item.WhichOneof("payload")
    if field == "text":
        return item.text
    if field in ("data_json", "tags_json"):
        return json.loads(getattr(item, field))
    if field == "answer":
        return _answer(item.answer)
    if field == "document":
        return _document(item.document, file)
    if field == "question":
        return _question(item.question)
    if field == "table":
        return {"columns": list(item.table.columns), "rows": table_rows(item.table)}
    return _media(getattr(item, field), file) if field else None


def table_rows(table: lane_pb2.Table) -> list[list[Any]]:
    """The rows of a table as JSON values."""
    return [[json.loads(cell) for cell in row.cells_json] for row in table.rows]


def _answer(answer: lane_pb2.Answer) -> Flat:
    flat: Flat = {"text": answer.text} if answer.text or not answer.data_json else {}
    if answer.data_json:
        flat["data"] = json.loads(answer.data_json)
    flat |= present(finish_reason=answer.finish_reason, tool_calls=list(map(_tool_call, answer.tool_calls)))
    return flat | present(usage=usage_json(answer))


def usage_json(of: lane_pb2.Answer | control_pb2.ToolProgress | control_pb2.ToolResult) -> Flat | None:
    """What something has used; None if it does not count it."""
    if not of.HasField("usage"):
        return None
    usage = of.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        **present(cost=usage.cost if usage.HasField("cost") else None, tool_calls=usage.tool_calls or None),
    }


def _document(document: lane_pb2.Document, file: str = "") -> Flat:
    return {
        "content": document.content,
        **present(
            id=document.id,
            source=document.source,
            score=document.score if document.HasField("score") else None,
            chunk_index=document.chunk_index if document.HasField("chunk_index") else None,
            metadata=json.loads(document.metadata_json) if document.metadata_json else None,
            embedding=list(document.embedding),
            file=_media(document.file, file) if document.HasField("file") else None,
        ),
    }


def _question(question: lane_pb2.Question) -> Flat:
    return {
        "text": question.text,
        **present(
            instructions=question.instructions,
            history=list(map(_turn, question.history)),
            examples=[{"question": pair.question, "answer": pair.answer} for pair in question.examples],
            documents=list(map(_document, question.documents)),
            schema=json.loads(question.schema_json) if question.schema_json else None,
            embedding=list(question.embedding),
            images=[_media(image, "") for image in question.images],
            tools=list(map(_tool_spec, question.tools)),
        ),
    }


def _turn(turn: lane_pb2.Message) -> Flat:
    return present(
        role=turn.role,
        content=turn.content,
        tool_calls=list(map(_tool_call, turn.tool_calls)),
        tool_call_id=turn.tool_call_id,
        images=[_media(image, "") for image in turn.images],
    )


def _tool_spec(spec: lane_pb2.ToolSpec) -> Flat:
    parameters = json.loads(spec.parameters_json) if spec.parameters_json else None
    return {"name": spec.name, **present(description=spec.description, parameters=parameters)}


def _tool_call(call: lane_pb2.ToolCall) -> Flat:
    return {"id": call.id, "name": call.name, "arguments": call.arguments_json}


def _media(media: lane_pb2.Media, file: str) -> Flat:
    content = ""
    if media.content and not file:
        import base64

        content = base64.b64encode(media.content).decode()
    return {
        "mime_type": media.mime_type,
        "bytes": len(media.content),
        **present(
            uri=media.uri,
            file=file,
            timestamp=media.timestamp_seconds if media.HasField("timestamp_seconds") else None,
            width=media.width or None,
            height=media.height or None,
            rate=media.rate or None,
            channels=media.channels or None,
            content=content,
        ),
    }


def loads_or_text(text: str) -> Any:
    """The JSON value of a text; the text itself if it is not JSON, because models and tools can write anything."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON number")
