"""Key sets of issuers that a server fetches: within bounds, seldom, and without losing those it has."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from lanemesh._grpc.auth import jwt_keys
from lanemesh._grpc.auth.jwt_keys import KeySetUrl, fetch_keys
from lanemesh._grpc.auth.refusals import Refusal, TokenRefused
from lanemesh._grpc.auth.tokens import AcceptedTokens

from rigs.doors import AUDIENCE, ISSUER, Doors


class Issuer:
    """An HTTP server with a key set."""

    def __init__(self) -> None:
        self.requests = 0
        self.status = 200
        self.body = b""
        self.key = generate_private_key(SECP256R1())
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                self.send_response(issuer.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(issuer.body)))
                self.end_headers()
                self.wfile.write(issuer.body)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys.json"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def publish(self, *ids: str) -> None:
        """Publishes the key under these ids."""
        entry = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(self.key.public_key()))
        self.body = json.dumps({"keys": [{**entry, "kid": one, "alg": "ES256"} for one in ids]}).encode()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    made.publish("one", "two")
    yield made
    made.close()


async def is_known(keys: KeySetUrl, key_id: str) -> bool:
    """Whether a key is there."""
    try:
        await keys.key(key_id)
    except TokenRefused as refused:
        return refused.refusal is not Refusal.INVALID
    return True


async def test_a_token_is_verified_by_the_key_that_it_names(own_doors: Doors, issuer: Issuer) -> None:
    own_doors.auth.write_text(f'[[jwt]]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks_url = "{issuer.url}"\n')
    accepted = AcceptedTokens(own_doors.auth)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "joe", "exp": 4_000_000_000, "scope": "run"}
    token = jwt.encode(claims, issuer.key, algorithm="ES256", headers={"kid": "two"})
    callers = await asyncio.gather(*(accepted.verify(token) for _ in range(20)))
    assert {caller.name for caller in callers} == {"joe"}
    assert issuer.requests == 1


async def test_keys_are_fetched_again_after_a_while_or_for_an_unknown_one_but_seldom(issuer: Issuer) -> None:
    now = [1_000.0]
    keys = KeySetUrl(issuer.url, now=lambda: now[0])
    assert await is_known(keys, "one")
    for _ in range(50):
        assert not await is_known(keys, "three")
    assert issuer.requests == 1  # an attacker cannot have it fetched at will

    issuer.publish("two", "three")
    now[0] += jwt_keys.AGAIN_SECONDS
    assert await is_known(keys, "three")
    assert (issuer.requests, await is_known(keys, "one")) == (2, False)

    now[0] += jwt_keys.FRESH_SECONDS
    assert await is_known(keys, "two")
    assert issuer.requests == 3


async def test_keys_remain_in_use_while_they_cannot_be_fetched(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1_000.0]
    keys = KeySetUrl(issuer.url, now=lambda: now[0])
    assert await is_known(keys, "one")
    for status, body in ((500, b""), (200, b"no keys"), (200, b'{"keys": [{"kty": "odd"}]}'), (302, b"")):
        issuer.status, issuer.body = status, body
        now[0] += jwt_keys.FRESH_SECONDS
        assert await is_known(keys, "one")
    assert caplog.text.count("cannot be fetched") == 4


async def test_without_keys_a_token_is_not_called_invalid(issuer: Issuer) -> None:
    issuer.status = 503
    with pytest.raises(TokenRefused) as caught:
        await KeySetUrl(issuer.url).key("one")
    assert caught.value.refusal is Refusal.UNVERIFIABLE


def test_a_key_set_that_is_too_large_is_not_read(issuer: Issuer) -> None:
    issuer.body = b" " * (jwt_keys.MAX_BYTES + 1)
    with pytest.raises(ValueError, match="more than 1024 KiB"):
        fetch_keys(issuer.url)


def test_a_redirect_is_not_followed(issuer: Issuer) -> None:
    issuer.status = 302
    with pytest.raises(OSError, match="302"):
        fetch_keys(issuer.url)
    assert issuer.requests == 1
