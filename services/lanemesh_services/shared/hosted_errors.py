"""The errors of models behind HTTP: each names the server, the status and what to do, and quotes no secret."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lanemesh import Code, Fault, LanemeshError

from lanemesh_services.shared.errors import GenerationRefused

MAX_QUOTED = 300
"""Most characters of a server's message that an error quotes."""

_FIELDS = {
    "json_schema": re.compile(
        r"\b(json_schema|response_format|response_json_schema|output_config|text\.format|structured[ _]outputs?)\b",
        re.I,
    ),
    "tools": re.compile(r"\b(tools?|function[ _-]call(s|ing)?)\b", re.I),
}
"""How the messages of servers name a field of the request that the model does not support. The schema comes first: a message about
it may name its properties, such as "tool"."""


class ServerFailed(LanemeshError):
    """A server of models did not answer, or answered with an error."""

    def __init__(self, fault: Fault, *, transient: bool = False) -> None:
        """`transient`: the same request may succeed later, after `retry_after` seconds of the fault if the server says so."""
        super().__init__(fault)
        self.transient = transient


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a model, as errors name it."""

    name: str
    """What it speaks, such as "OpenAI"."""
    address: str
    """Its base URL."""
    model: str
    """The model that is asked for."""
    secret: str = ""
    """The key, which no text may quote; empty: none."""

    def __str__(self) -> str:
        return f"The {self.name} server {self.address}"

    @property
    def details(self) -> dict[str, str]:
        """What faults carry besides their message."""
        return {"server": self.address, "model": self.model}

    def quoted(self, text: object) -> str:
        """A text of the server on one line, shortened, without the key."""
        whole = " ".join(str(text).split())
        if self.secret:
            whole = whole.replace(self.secret, "***")
        return f"{whole[:MAX_QUOTED]}..." if len(whole) > MAX_QUOTED else whole.rstrip(".")


def key_missing(provider: str, server: Server, variable: str) -> LanemeshError:
    """A server that wants a key is used without one."""
    message = (
        f'{provider} has no key for {server.address}. Set "api_key": "${{{variable}}}" in the component\'s config, and the '
        f"variable {variable} where the pipeline is read"
    )
    return _failed(Code.FAILED_PRECONDITION, "model-key-missing", message, server)


def status_failure(server: Server, status: int, text: object, retry_after: float | None = None) -> LanemeshError:
    """The error of a response with this status and message. A refusal whose message names the tools or the schema of the request
    has the field in its details, as that of a model in this process has."""
    reply = f"({status}: {server.quoted(text)})" if text else f"({status})"
    if status in (401, 403):  # such a message may quote the key, so it is not repeated
        hint = "Check api_key: it must be a valid key of this server, with access to the model"
        if not server.secret:
            hint = "Set api_key in the component's config"
        message = f"{server} refused the key for the model {server.model} ({status}). {hint}"
        return _failed(Code.PERMISSION_DENIED, "model-key-refused", message, server)
    field = _rejected_field(server, text)
    if status == 404 and not field:
        message = f"{server} does not serve the model {server.model} {reply}. Check model and base_url"
        return _failed(Code.NOT_FOUND, "model-not-served", message, server)
    if status == 429:
        message = (
            f"{server} has reached a rate limit or a quota {reply}. Retry later, lower concurrency, raise retries and "
            "retry_seconds in the component's config, or raise the limit at the server"
        )
        return _failed(
            Code.RESOURCE_EXHAUSTED, "model-rate-limited", message, server, transient=True, retry_after=retry_after
        )
    if 300 <= status < 400:
        message = (
            f"{server} redirects to another address {reply}, which is not followed. Set base_url to the final address"
        )
        return _failed(Code.FAILED_PRECONDITION, "model-server-failed", message, server)
    if status >= 500 or status in (408, 409, 425):
        message = f"{server} failed {reply}. Retry later, or check the server"
        return _failed(
            Code.UNAVAILABLE, "model-server-failed", message, server, transient=True, retry_after=retry_after
        )
    message = f"{server} rejected the request {reply}. Check the component's config, and what the model supports"
    details = {**server.details, "field": field} if field else server.details
    return GenerationRefused(
        Fault(code=Code.INVALID_ARGUMENT, reason="generation-refused", message=message, details=details)
    )


def _rejected_field(server: Server, text: object) -> str:
    """The field of the request that a server's message names; empty if it names none."""
    message = str(text).replace(server.model, "")
    return next((field for field, names in _FIELDS.items() if names.search(message)), "")


def unreachable(server: Server, why: object) -> ServerFailed:
    """No connection to a server can be made, or it broke before the answer began."""
    message = f"{server} cannot be reached: {server.quoted(why)}. Check base_url, the network, and that the server runs"
    return _failed(Code.UNAVAILABLE, "model-server-unreachable", message, server, transient=True)


def silent(server: Server, seconds: float) -> ServerFailed:
    """A server sent no part of an answer for this long."""
    message = f"{server} sent nothing for {seconds:g} s. Raise timeout in the component's config, or check the server"
    return _failed(Code.DEADLINE_EXCEEDED, "model-server-silent", message, server, transient=True)


def broken(server: Server, why: object) -> ServerFailed:
    """An answer ended early, or is not of the form that the API defines."""
    message = (
        f"The answer of {server.name} at {server.address} is broken: {server.quoted(why)}. Retry, or check the server"
    )
    return _failed(Code.UNAVAILABLE, "model-answer-broken", message, server, transient=True)


def too_long(server: Server, limit: int) -> ServerFailed:
    """A response has more bytes than are read."""
    message = f"The answer of {server.name} at {server.address} exceeds {limit:,} bytes. Lower max_tokens, or check the server"
    return _failed(Code.RESOURCE_EXHAUSTED, "model-answer-broken", message, server)


def filtered(server: Server, why: object) -> ServerFailed:
    """The server withheld an answer, or the rest of it, for its content."""
    message = f"{server} withheld the answer of the model {server.model} for its content ({server.quoted(why)}). Change the request"
    return _failed(Code.FAILED_PRECONDITION, "answer-filtered", message, server)


def _failed(
    code: Code,
    reason: str,
    message: str,
    server: Server,
    *,
    transient: bool = False,
    retry_after: float | None = None,
) -> ServerFailed:
    fault = Fault(code=code, reason=reason, message=f"{message}.", details=server.details, retry_after=retry_after)
    return ServerFailed(fault, transient=transient)
