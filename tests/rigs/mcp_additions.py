"""Tools, resources and prompts for `lanemesh mcp --with`: those that the MCP conformance suite calls and no pipeline can offer.

They ask the client for something in the middle of a call, or are resources or prompts.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
STATE = "a state that the server protects"
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
Reply = str | InputRequiredResult

warnings.simplefilter("ignore", MCPDeprecationWarning)  # the suite calls what 2026-07-28 has deprecated


def add_to(server: MCPServer[Any]) -> None:
    """Registers everything."""
    _add_resources(server)
    _add_prompts(server)
    _add_tools_that_ask(server)
    _add_tools_that_need_input(server)


def _ask(message: str, schema: dict[str, Any]) -> ElicitRequest:
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str, max_tokens: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def _answer(context: Context[Any, Any], key: str) -> Any:
    """The content of an answer of the client; None if there is none."""
    return getattr((context.input_responses or {}).get(key), "content", None)


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        import base64

        return base64.b64decode(PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 - the suite's name
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        return "It changes."

    @server.tool()
    async def change_watched(context: Context[Any, Any]) -> str:
        """Changes the watched resource."""
        await context.notify_resource_updated("test://watched-resource")
        return "changed"

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(reference: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[one for one in ("paris", "park", "party") if one.startswith(argument.value)])


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt()
    def test_simple_prompt() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt with two arguments."""
        return f"Prompt with arguments: arg1={arg1!r}, arg2={arg2!r}"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        """A prompt with a resource."""
        contents = TextResourceContents(
            uri=resourceUri, mime_type="text/plain", text="Embedded resource content for testing."
        )
        return [
            UserMessage(EmbeddedResource(resource=contents)),
            UserMessage("Please process the embedded resource above."),
        ]

    @server.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """A prompt with an image."""
        return [
            UserMessage(ImageContent(data=PNG, mime_type="image/png")),
            UserMessage("Please analyze the image above."),
        ]

    @server.prompt()
    def test_input_required_result_prompt(context: Context[Any, Any]) -> Any:
        """A prompt that needs input."""
        given = _answer(context, "user_context")
        if given is None:
            schema = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}
            asked = _ask("What context should the prompt use?", schema)
            return InputRequiredResult(input_requests={"user_context": asked})
        return f"Use this context: {given['context']}"


def _add_tools_that_ask(server: MCPServer[Any]) -> None:
    """Tools that send the client a request in the middle of a call, as before 2026-07-28."""

    @server.tool()
    async def test_sampling(prompt: str, context: Context[Any, Any]) -> str:
        """Asks the client's model."""
        message = SamplingMessage(role="user", content=TextContent(text=prompt))
        reply = await context.session.create_message([message], max_tokens=100, related_request_id=context.request_id)
        return f"LLM response: {getattr(reply.content, 'text', '')}"

    async def elicit(context: Context[Any, Any], message: str, schema: dict[str, Any]) -> Any:
        return await context.session.elicit_form(message, schema, related_request_id=context.request_id)

    @server.tool()
    async def test_elicitation(message: str, context: Context[Any, Any]) -> str:
        """Asks the user."""
        texts = {name: {"type": "string", "description": f"The {name}"} for name in ("username", "email")}
        schema = {"type": "object", "properties": texts, "required": list(texts)}
        reply = await elicit(context, message, schema)
        return f"User response: action={reply.action}, content={json.dumps(reply.content)}"

    @server.tool()
    async def test_elicitation_sep1034_defaults(context: Context[Any, Any]) -> str:
        """Asks with defaults."""
        properties = {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": True},
        }
        reply = await elicit(context, "Please check", {"type": "object", "properties": properties})
        return f"Elicitation completed: action={reply.action}, content={json.dumps(reply.content)}"

    @server.tool()
    async def test_elicitation_sep1330_enums(context: Context[Any, Any]) -> str:
        """Asks with choices."""
        options = ["option1", "option2", "option3"]
        titled = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second"), 1)]
        names = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
        properties = {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {"type": "string", **names},
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        }
        reply = await elicit(context, "Please choose", {"type": "object", "properties": properties})
        return f"Elicitation completed: action={reply.action}, content={json.dumps(reply.content)}"


def _add_tools_that_need_input(server: MCPServer[Any]) -> None:
    """Tools that return `input_required`, as since 2026-07-28."""

    @server.tool()
    async def test_input_required_result_elicitation(context: Context[Any, Any]) -> Reply:
        """Needs a name."""
        given = _answer(context, "user_name")
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            return InputRequiredResult(input_requests={"user_name": _ask("What is your name?", NAME)})
        return f"Hello, {given['name']}!"

    @server.tool()
    async def test_input_required_result_sampling(context: Context[Any, Any]) -> Reply:
        """Needs an answer of the client's model."""
        given = _answer(context, "capital_question")
        if given is None:
            return InputRequiredResult(
                input_requests={"capital_question": _sample("What is the capital of France?", 100)}
            )
        return str(getattr(given, "text", given))

    @server.tool()
    async def test_input_required_result_list_roots(context: Context[Any, Any]) -> Reply:
        """Needs the client's roots."""
        given = (context.input_responses or {}).get("client_roots")
        if given is None:
            return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
        return "roots: " + ", ".join(str(root.uri) for root in getattr(given, "roots", ()))

    @server.tool()
    async def test_input_required_result_request_state(context: Context[Any, Any]) -> Reply:
        """Returns a state, and checks it."""
        if context.request_state != STATE:
            schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
            return InputRequiredResult(input_requests={"confirm": _ask("Please confirm", schema)}, request_state=STATE)
        return "state-ok"

    @server.tool()
    async def test_input_required_result_tampered_state(context: Context[Any, Any]) -> Reply:
        """Returns a state that the client must not change."""
        if context.request_state is None:
            schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
            return InputRequiredResult(input_requests={"confirm": _ask("Please confirm", schema)}, request_state=STATE)
        return "state-ok"

    @server.tool()
    async def test_input_required_result_multiple_inputs(context: Context[Any, Any]) -> Reply:
        """Needs three things."""
        wanted = {"user_name", "greeting", "client_roots"}
        if not wanted <= set(context.input_responses or ()):
            return InputRequiredResult(
                input_requests={
                    "user_name": _ask("What is your name?", NAME),
                    "greeting": _sample("Generate a greeting", 50),
                    "client_roots": ListRootsRequest(),
                },
                request_state=STATE,
            )
        return "all there"

    @server.tool()
    async def test_input_required_result_multi_round(context: Context[Any, Any]) -> Reply:
        """Needs two things, one after the other."""
        color = {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}
        if context.request_state is None or (_answer(context, "step1") is None and context.request_state == "step1"):
            asked = _ask("Step 1: What is your name?", NAME)
            return InputRequiredResult(input_requests={"step1": asked}, request_state="step1")
        if context.request_state == "step1":
            asked = _ask("Step 2: What is your favorite color?", color)
            return InputRequiredResult(input_requests={"step2": asked}, request_state="step2")
        return f"done: {json.dumps(_answer(context, 'step2'))}"

    @server.tool()
    async def test_input_required_result_capabilities(context: Context[Any, Any]) -> Reply:
        """Asks only for what the client declares."""
        capabilities = context.client_capabilities
        requests: dict[str, Any] = {}
        if capabilities is not None and capabilities.sampling is not None:
            requests["sampled"] = _sample("Say hello", 20)
        if capabilities is not None and capabilities.elicitation is not None:
            requests["elicited"] = _ask("What is your name?", NAME)
        if not requests or context.input_responses:
            return "done"
        return InputRequiredResult(input_requests=requests)

    @server.tool()
    async def test_streaming_elicitation(context: Context[Any, Any]) -> Reply:
        """Reports progress, then needs a name."""
        await context.report_progress(1, 2, "half")
        given = _answer(context, "user_name")
        if given is None:
            return InputRequiredResult(input_requests={"user_name": _ask("What is your name?", NAME)})
        return f"Hello, {given['name']}!"

    @server.tool()
    async def test_missing_capability(context: Context[Any, Any]) -> str:
        """Needs a client with a model."""
        capabilities = context.client_capabilities
        if capabilities is None or capabilities.sampling is None:
            data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs a client with sampling", data)
        return "it has one"
