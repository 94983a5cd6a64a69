"""`lanemesh certs` and `lanemesh token`: files for locked doors, which are never overwritten."""

from __future__ import annotations

import hashlib
import stat
import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from lanemesh._grpc.auth.scopes import Scope
from lanemesh._grpc.auth.tokens import AcceptedTokens
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator.certificates import Subject, make_certificates
from lanemesh_orchestrator.cli.commands.certs import certs, token
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def names_of(file: Path) -> set[str]:
    """The hosts and the identity of a certificate."""
    names = x509.load_pem_x509_certificate(file.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return {str(name.value) for name in names.value}


def test_certificates_are_made_with_private_keys_that_others_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certs(tmp_path / "a" / "certs", (), 30) is ExitCode.COMPLETED
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "a" / "certs").iterdir()}
    assert sorted(files) == sorted(
        f"{name}.{kind}" for name in ("ca", "orchestrator", "node", "client") for kind in ("pem", "key")
    )
    assert {mode for name, mode in files.items() if name.endswith(".key")} == {0o600}
    assert "export LANEMESH_TLS_CA=" in capsys.readouterr().out


def test_existing_files_are_kept_and_their_authority_signs_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certs(tmp_path, ["one"], 30)
    before = contents(tmp_path)
    certs(tmp_path, ["one", "two"], 30)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    ca, two = (x509.load_pem_x509_certificate(after[name]) for name in ("ca.pem", "two.pem"))
    two.verify_directly_issued_by(ca)
    printed = capsys.readouterr().out
    assert "kept  " in printed.replace(str(tmp_path), "")
    assert "two.pem" in printed


def test_a_certificate_names_its_hosts_and_its_role(tmp_path: Path) -> None:
    subjects = [Subject.parse(text) for text in ("worker=10.0.0.5,w.example", "gpu-arbiter", "gateway")]
    make_certificates(tmp_path, subjects)
    local = {"localhost", "127.0.0.1", "::1", "lanemesh.internal"}
    assert names_of(tmp_path / "worker.pem") == local | {
        "worker",
        "10.0.0.5",
        "w.example",
        "spiffe://lanemesh/node/worker",
    }
    assert "spiffe://lanemesh/arbiter/gpu-arbiter" in names_of(tmp_path / "gpu-arbiter.pem")
    assert "spiffe://lanemesh/gateway/gateway" in names_of(tmp_path / "gateway.pem")


@pytest.mark.parametrize("text", ["", "ca", "../up", "a/b", "a b", "-a", "a=host/1", "a=b c", "x" * 70, "a\n"])
def test_names_that_are_no_names_are_refused(text: str) -> None:
    with pytest.raises(LanemeshError, match="is not the name of a certificate"):
        Subject.parse(text)


@pytest.mark.parametrize("missing", ["ca.key", "ca.pem", "node.key"])
def test_half_a_pair_is_not_completed(tmp_path: Path, missing: str) -> None:
    make_certificates(tmp_path, [Subject(name="node")])
    (tmp_path / missing).unlink()
    before = contents(tmp_path)
    with pytest.raises(LanemeshError, match=r"does not\. Restore it, or remove both"):
        make_certificates(tmp_path, [Subject(name="node")])
    assert contents(tmp_path) == before


def test_an_authority_with_a_key_of_another_is_refused(tmp_path: Path) -> None:
    make_certificates(tmp_path / "a", [])
    make_certificates(tmp_path / "b", [])
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(LanemeshError, match="is not the key of"):
        make_certificates(tmp_path / "a", [Subject(name="node")])


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LanemeshError, match="cannot be written"):
        make_certificates(tmp_path / "file", [])


async def test_a_token_is_printed_once_and_the_file_has_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = tmp_path / "auth.toml"
    token(auth, 'al\'ice "a"', [Scope.RUN, Scope.WATCH, Scope.RUN], None)
    printed = capsys.readouterr().out.strip()
    token(auth, "mesh", [Scope.NODE], tmp_path / "mesh.token")
    assert capsys.readouterr().out == ""
    assert stat.S_IMODE((tmp_path / "mesh.token").stat().st_mode) == stat.S_IMODE(auth.stat().st_mode) == 0o600
    assert printed not in auth.read_text()
    first = tomllib.loads(auth.read_text())["tokens"][0]
    assert first["sha256"] == hashlib.sha256(printed.encode()).hexdigest()
    accepted = AcceptedTokens(auth)
    caller = await accepted.verify(printed)
    assert (caller.name, caller.scopes) == ('al\'ice "a"', frozenset({Scope.RUN, Scope.WATCH}))
    assert (await accepted.verify((tmp_path / "mesh.token").read_text().strip())).name == "mesh"


def test_a_token_overwrites_nothing(tmp_path: Path) -> None:
    auth, output = tmp_path / "auth.toml", tmp_path / "token"
    token(auth, "a", [Scope.RUN], output)
    before = contents(tmp_path)
    for name, message in (("a", 'has a token "a" already'), ("b", "exists. Choose another --output")):
        with pytest.raises(CommandError, match=message):
            token(auth, name, [Scope.RUN], output)
    with pytest.raises(CommandError, match="at least one --scope"):
        token(auth, "c", [], None)
    assert contents(tmp_path) == before
