"""The settings of TLS and tokens: read from the environment, checked, and never shown with a token."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanemesh._grpc.security import OPEN, VARIABLES, Security
from lanemesh.faults import LanemeshError

FULL = {
    "LANEMESH_TLS_CERT": "cert.pem",
    "LANEMESH_TLS_KEY": "cert.key",
    "LANEMESH_TLS_CA": "ca.pem",
    "LANEMESH_TLS_NAME": "mesh.internal",
    "LANEMESH_MTLS": "1",
    "LANEMESH_AUTH": "auth.toml",
    "LANEMESH_TOKEN": "a-secret-token",
}


def test_without_variables_nothing_is_protected() -> None:
    settings = Security.from_environment({"PATH": "/bin"})
    assert settings is OPEN
    assert (settings.serves_tls, settings.dials_tls, settings.is_authenticated) == (False, False, False)


def test_each_variable_is_a_setting() -> None:
    settings = Security.from_environment(FULL)
    assert settings == Security(
        cert=Path("cert.pem"),
        key=Path("cert.key"),
        ca=Path("ca.pem"),
        server_name="mesh.internal",
        mtls=True,
        auth=Path("auth.toml"),
        token="a-secret-token",
    )


def test_a_started_process_gets_the_same_settings() -> None:
    settings = Security.from_environment(FULL)
    assert Security.from_environment(settings.environment()) == settings
    assert settings.environment().keys() == set(VARIABLES)
    assert not any(OPEN.environment().values())


def test_a_token_is_not_shown() -> None:
    settings = Security.from_environment(FULL)
    assert "a-secret-token" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"LANEMESH_TLS_CERT": "cert.pem"}, "LANEMESH_TLS_KEY is not set"),
        ({"LANEMESH_TLS_KEY": "cert.key"}, "LANEMESH_TLS_CERT is not set"),
        ({"LANEMESH_MTLS": "1"}, "LANEMESH_MTLS is set, which needs LANEMESH_TLS_CERT"),
        (
            {"LANEMESH_MTLS": "1", "LANEMESH_TLS_CERT": "a", "LANEMESH_TLS_KEY": "b", "LANEMESH_TLS_CA": "system"},
            "the authorities of the clients",
        ),
        ({"LANEMESH_MTLS": "perhaps"}, "LANEMESH_MTLS is neither 1 nor 0"),
        ({"LANEMESH_TOKEN": "a", "LANEMESH_TOKEN_FILE": "b"}, "both set"),
    ],
)
def test_contradictions_are_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(LanemeshError, match=message) as caught:
        Security.from_environment(environment)
    assert caught.value.fault.reason == "bad-security"


@pytest.mark.parametrize("token", ["two words", "new\nline", "ünicode"])
def test_a_token_that_no_header_carries_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(LanemeshError, match="visible ASCII") as caught:
        Security.from_environment({"LANEMESH_TOKEN": token})
    assert token not in str(caught.value)


def test_a_client_has_settings_of_its_own() -> None:
    base = Security(ca=Path("ca.pem"), token_file=Path("token"))
    assert base.for_client(None, None) == base
    assert base.for_client("mine", None) == Security(ca=Path("ca.pem"), token="mine")
    assert base.for_client("", False) == OPEN
    assert base.for_client("", True) == Security(ca=Path("ca.pem"))
    assert OPEN.for_client(None, True).ca == "system"
    assert OPEN.for_client(None, "mine.pem").ca == Path("mine.pem")


def test_a_local_mesh_does_not_use_what_is_for_another_one() -> None:
    assert Security(ca=Path("ca.pem"), token="of-another-mesh").for_local_mesh() == OPEN
    own = Security(auth=Path("auth.toml"), token="own")
    assert own.for_local_mesh() == own
