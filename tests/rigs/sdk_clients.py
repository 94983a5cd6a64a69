"""Clients of the SDKs of others, at a server of the tests. They load no certificates: the server has no TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anthropic
    import openai

SECONDS = 60.0
"""Time limit of a step of a request, such as a connection. Those of the SDKs connect within 5 s, which many at once may exceed."""


def openai_client(url: str, key: str = "none") -> openai.AsyncOpenAI:
    """A client of the OpenAI API at a base URL, which repeats no request."""
    import openai

    plain = openai.DefaultAsyncHttpxClient(verify=False, timeout=SECONDS)
    return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=plain)


def anthropic_client(url: str, key: str = "none") -> anthropic.AsyncAnthropic:
    """A client of the Anthropic API at a base URL, which repeats no request."""
    import anthropic

    plain = anthropic.DefaultAsyncHttpxClient(verify=False, timeout=SECONDS)
    return anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0, http_client=plain)
