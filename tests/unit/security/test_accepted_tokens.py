"""Which tokens a file accepts: static ones and JWTs, until they expire, and as the file is at the time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from lanemesh._grpc.auth import tokens as tokens_module
from lanemesh._grpc.auth.refusals import Refusal, TokenRefused
from lanemesh._grpc.auth.scopes import Scope
from lanemesh._grpc.auth.tokens import AcceptedTokens
from lanemesh.faults import LanemeshError

from rigs.doors import AUDIENCE, ISSUER, Doors


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accepted(doors: Doors, clock: Clock) -> AcceptedTokens:
    return AcceptedTokens(doors.auth, now=clock)


async def refusal(accepted: AcceptedTokens, token: str) -> Refusal:
    """Why a token is refused."""
    with pytest.raises(TokenRefused) as caught:
        await accepted.verify(token)
    assert token not in str(caught.value)
    return caught.value.refusal


async def test_a_static_token_has_a_name_and_scopes(doors: Doors, accepted: AcceptedTokens) -> None:
    assert accepted.verified(doors.token("runner")) is None
    caller = await accepted.verify(doors.token("runner"))
    assert (caller.name, caller.scopes) == ("runner", frozenset({Scope.RUN}))
    assert accepted.verified(doors.token("runner")) == caller
    assert doors.token("runner") not in repr(caller)


@pytest.mark.parametrize("token", ["", "wrong", "token-of-runner-012345678", "a.b.c", "a.b.c.d", "." * 20_000])
async def test_other_tokens_are_refused(accepted: AcceptedTokens, token: str) -> None:
    assert await refusal(accepted, token or "x") is Refusal.INVALID


async def test_hashes_and_files_are_tokens_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a-token-in-a-file\n")
    digest = hashlib.sha256(b"a-token-by-its-hash").hexdigest()
    auth = tmp_path / "auth.toml"
    auth.write_text(
        f'[[tokens]]\nname = "hash"\nsha256 = "{digest}"\nscopes = ["run"]\n'
        '[[tokens]]\nname = "file"\ntoken_file = "secret"\nscopes = ["watch"]\n'
    )
    accepted = AcceptedTokens(auth)
    assert (await accepted.verify("a-token-by-its-hash")).name == "hash"
    assert (await accepted.verify("a-token-in-a-file")).name == "file"


async def test_byte_order_marks_are_left_out(tmp_path: Path) -> None:
    secret = "a secret of more than thirty-two bytes in all"
    (tmp_path / "token").write_text("a-token-in-a-file\r\n", "utf-8-sig")
    (tmp_path / "secret").write_text(secret, "utf-8-sig")
    (tmp_path / "auth.toml").write_text(
        '[[tokens]]\nname = "file"\ntoken_file = "token"\nscopes = ["watch"]\n'
        f'[[jwt]]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\nkey_file = "secret"\nalgorithms = ["HS256"]\n',
        "utf-8-sig",
    )
    accepted = AcceptedTokens(tmp_path / "auth.toml")
    assert (await accepted.verify("a-token-in-a-file")).name == "file"
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "joe", "exp": time.time() + 60, "scope": "run"}
    assert (await accepted.verify(jwt.encode(claims, secret, algorithm="HS256"))).name == "joe"


async def test_a_static_token_expires(tmp_path: Path, clock: Clock) -> None:
    auth = tmp_path / "auth.toml"
    auth.write_text(
        '[[tokens]]\nname = "a"\ntoken = "0123456789abcdef"\nscopes = ["run"]\nexpires = 2090-01-01T00:00:00Z\n'
    )
    accepted = AcceptedTokens(auth, now=clock)
    await accepted.verify("0123456789abcdef")
    clock.time = 3_786_912_000.0  # 2090-01-01 and a day
    assert accepted.verified("0123456789abcdef") is None
    assert await refusal(accepted, "0123456789abcdef") is Refusal.EXPIRED


async def test_a_jwt_has_a_subject_and_scopes(doors: Doors, accepted: AcceptedTokens) -> None:
    caller = await accepted.verify(doors.jwt("run openid watch"))
    assert (caller.name, caller.issuer, caller.scopes) == ("jane", ISSUER, frozenset({Scope.RUN, Scope.WATCH}))
    assert (await accepted.verify(doors.jwt(["deploy", 3]))).scopes == {Scope.DEPLOY}
    assert (await accepted.verify(doors.jwt({"run": 1}))).scopes == frozenset()


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": 1}, Refusal.EXPIRED),
        ({"aud": "another-mesh"}, Refusal.AUDIENCE),
        ({"iss": "https://elsewhere.example"}, Refusal.INVALID),
        ({"nbf": 9_999_999_999}, Refusal.INVALID),
    ],
)
async def test_a_jwt_with_wrong_claims_is_refused(
    doors: Doors, accepted: AcceptedTokens, claims: dict[str, Any], expected: Refusal
) -> None:
    assert await refusal(accepted, doors.jwt(**claims)) is expected


async def test_a_jwt_without_expiry_is_refused(doors: Doors, accepted: AcceptedTokens) -> None:
    token = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "scope": "run"}, doors.jwt_key, algorithm="ES256")
    assert await refusal(accepted, token) is Refusal.INVALID


async def test_a_jwt_of_another_key_is_refused(doors: Doors, accepted: AcceptedTokens) -> None:
    assert await refusal(accepted, doors.jwt(key=generate_private_key(SECP256R1()))) is Refusal.INVALID
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "scope": "admin"}
    assert await refusal(accepted, jwt.encode(claims, "", algorithm="none")) is Refusal.INVALID
    confused = jwt.encode(claims, "the text of a public key, used as a secret", algorithm="HS256")
    assert await refusal(accepted, confused) is Refusal.INVALID


async def test_a_jwt_expires_also_when_it_was_verified_before(
    doors: Doors, accepted: AcceptedTokens, clock: Clock
) -> None:
    token = doors.jwt()
    await accepted.verify(token)
    assert accepted.verified(token) is not None
    clock.time += 100  # beyond its end and the leeway
    assert accepted.verified(token) is None


async def test_a_verified_token_is_checked_again_after_a_while(
    doors: Doors, accepted: AcceptedTokens, clock: Clock
) -> None:
    token = doors.jwt(exp=time.time() + 10_000)
    await accepted.verify(token)
    clock.time += tokens_module.VERIFIED_SECONDS + 1
    assert accepted.verified(token) is None
    assert (await accepted.verify(token)).name == "jane"


async def test_the_memory_of_verified_tokens_is_bounded(
    doors: Doors, accepted: AcceptedTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "MAX_VERIFIED", 3)
    tokens = [doors.jwt(sub=str(number)) for number in range(5)]
    for token in tokens:
        await accepted.verify(token)
        accepted.verified(tokens[0])
    assert [accepted.verified(token) is not None for token in tokens] == [True, False, False, True, True]


async def test_a_changed_file_is_used_within_a_second(doors: Doors, accepted: AcceptedTokens, clock: Clock) -> None:
    await accepted.verify(doors.token("runner"))
    doors.write_tokens({"late": ("run",)})
    os.utime(doors.auth, ns=(1, 1))
    clock.time += 1.1
    assert accepted.verified(doors.token("runner")) is None
    assert await refusal(accepted, doors.token("runner")) is Refusal.INVALID
    assert (await accepted.verify(doors.token("late"))).name == "late"


async def test_an_invalid_change_keeps_the_tokens_before(
    doors: Doors, accepted: AcceptedTokens, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    doors.auth.write_text("tokens = 3")
    for _ in range(3):
        clock.time += 1.1
        assert (await accepted.verify(doors.token("runner"))).name == "runner"
    assert caplog.text.count("the tokens before remain accepted") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "accepts no token"),
        ("no toml", "not TOML"),
        ('[[tokens]]\nname = "a"\nscopes = ["run"]\n', "give one of token, token_file and sha256"),
        ('[[tokens]]\nname = "a"\ntoken = "short-secret"\nscopes = ["run"]\n', "fewer than 16 characters"),
        ('[[tokens]]\nname = "a"\ntoken = "a-secret-of-20-chars"\nscopes = ["fly"]\n', "tokens.0.scopes"),
        ('[[tokens]]\nname = "a"\ntokn = "a-secret-of-20-chars"\nscopes = ["run"]\n', "tokens.0.tokn"),
        ('[[tokens]]\nname = "a"\ntoken_file = "missing"\nscopes = ["run"]\n', "the entry a"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\n', "give one of key_file, jwks_file and jwks_url"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\nkey_file = "missing"\n', "the keys of the issuer i"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\nkey_file = "auth.toml"\n', "not a public key"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\nkey_file = "k"\nalgorithms = ["none"]\n', "none is not one of"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\njwks_url = "https://x"\nalgorithms = ["HS256"]\n', "key_file"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\njwks_url = "http://id.example/keys"\n', "https://"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\njwks_url = "file:///etc/passwd"\n', "https://"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place_and_without_tokens(
    tmp_path: Path, text: str, message: str
) -> None:
    auth = tmp_path / "auth.toml"
    auth.write_text(text)
    with pytest.raises(LanemeshError, match=message) as caught:
        AcceptedTokens(auth)
    assert caught.value.fault.reason == "bad-auth-file"
    assert "short-secret" not in str(caught.value)
    assert "a-secret-of" not in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LanemeshError, match="cannot be read: No such file"):
        AcceptedTokens(tmp_path / "auth.toml")


async def test_a_shared_secret_verifies_jwts(tmp_path: Path) -> None:
    secret = "a secret of more than thirty-two bytes in all"
    (tmp_path / "secret").write_text(secret)
    auth = tmp_path / "auth.toml"
    auth.write_text(
        f'[[jwt]]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\nkey_file = "secret"\nalgorithms = ["HS256"]\n'
    )
    claims = {"iss": ISSUER, "aud": [AUDIENCE, "other"], "sub": "joe", "exp": time.time() + 60, "scope": "run"}
    accepted = AcceptedTokens(auth)
    assert (await accepted.verify(jwt.encode(claims, secret, algorithm="HS256"))).name == "joe"
    assert await refusal(accepted, jwt.encode(claims, f"{secret}!", algorithm="HS256")) is Refusal.INVALID


async def test_a_key_set_is_looked_at_by_the_id_of_the_key(tmp_path: Path) -> None:
    keys = {name: generate_private_key(SECP256R1()) for name in ("one", "two")}
    algorithm = jwt.get_algorithm_by_name("ES256")
    entries = [
        {**json.loads(algorithm.to_jwk(key.public_key())), "kid": name, "alg": "ES256"} for name, key in keys.items()
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    auth = tmp_path / "auth.toml"
    auth.write_text(f'[[jwt]]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks_file = "keys.json"\n')
    accepted = AcceptedTokens(auth)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "joe", "exp": time.time() + 60, "scope": "run"}

    def token(key: str, kid: str | None) -> str:
        return jwt.encode(claims, keys[key], algorithm="ES256", headers={"kid": kid} if kid else {})

    assert (await accepted.verify(token("two", "two"))).name == "joe"
    assert await refusal(accepted, token("one", "two")) is Refusal.INVALID
    assert await refusal(accepted, token("one", "three")) is Refusal.INVALID
    assert await refusal(accepted, token("one", None)) is Refusal.INVALID
