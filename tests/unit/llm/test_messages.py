"""How a question becomes a conversation."""

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.values import Document, Example, Image, Media, Message, Question, ToolCall, ToolSpec
from lanemesh_services.llm.messages import chat_messages, folded, to_request, with_images


def turns(question: Question) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in to_request(question).messages]


def test_a_bare_question_is_one_turn_of_the_user() -> None:
    assert turns(Question("Why?")) == [("user", "Why?")]


def test_instructions_history_examples_and_text_come_in_order() -> None:
    question = Question(
        "And Spain?",
        instructions="Answer in one word.",
        examples=(Example("Capital of Italy?", "Rome"),),
        history=(Message("user", "Capital of France?"), Message("assistant", "Paris")),
    )

    assert turns(question) == [
        ("system", "Answer in one word."),
        ("user", "Capital of Italy?"),
        ("assistant", "Rome"),
        ("user", "Capital of France?"),
        ("assistant", "Paris"),
        ("user", "And Spain?"),
    ]


def test_there_is_one_system_message_with_all_that_belongs_there() -> None:
    question = Question(
        "Who?",
        instructions="Be brief.",
        history=(Message("system", "Speak French."), Message("user", "Hello")),
        documents=(Document("Ann did it.", source="a.txt"), Document("Bob saw it.")),
    )

    first, *others = turns(question)

    assert first == (
        "system",
        "Be brief.\n\nSpeak French.\n\nAnswer from these documents:\n\n[1] (a.txt)\nAnn did it.\n\n[2]\nBob saw it.",
    )
    assert [role for role, _ in others] == ["user", "user"]


def test_the_schema_goes_along() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    question = Question("n?", schema=schema)

    assert to_request(question).schema == question.schema
    assert to_request(Question("n?")).schema is None


def test_tool_calls_and_results_keep_their_ids() -> None:
    history = (
        Message("assistant", "", (ToolCall("c1", "add", '{"a": 1}'),)),
        Message("tool", "1", tool_call_id="c1"),
    )

    called, result, _ = chat_messages(to_request(Question("so?", history=history)).messages)

    assert called["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]
    assert result == {"role": "tool", "content": "1", "tool_call_id": "c1"}


def test_the_tools_go_along_and_a_result_is_answered_without_a_turn_of_the_user() -> None:
    tool = ToolSpec("add", "Adds.", {"type": "object"})
    history = (
        Message("user", "1 + 1?"),
        Message("assistant", "", (ToolCall("c1", "add", "{}"),)),
        Message("tool", "2", tool_call_id="c1"),
    )

    request = to_request(Question("", history=history, tools=(tool,)))

    assert request.messages == history
    assert request.tools == (tool,)
    assert turns(Question("", history=history[:1]))[-1] == ("user", "")


def test_a_turn_with_an_image_is_folded_with_its_neighbours() -> None:
    picture = Message("user", "What is it?", images=(Image("image/png", b"\x89PNG"),))
    turns = folded(with_images([Message("system", "Be brief."), picture, Message("user", "Well?")]))
    assert turns == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Be brief."},
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "text", "text": "Well?"},
            ],
        }
    ]


def test_the_images_of_a_question_belong_to_its_turn() -> None:
    image = Image("image/png", b"\x89PNG")
    assert to_request(Question("What is it?", images=(image,))).messages[-1].images == (image,)


def test_a_model_refuses_a_document_whose_text_was_not_read() -> None:
    unread = Document("", source="a.pdf", file=Media("application/pdf", b"%PDF"))
    with pytest.raises(LanemeshError, match="Connect a parse before"):
        to_request(Question("Why?", documents=(unread,)))
