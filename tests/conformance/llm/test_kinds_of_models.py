"""Models that are no chat models are refused before they are loaded, whatever is wrong with them; templates and stop texts."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lanemesh import ChatRequest, Image, Message
from lanemesh_services.llm.engine import Engine
from lanemesh_services.llm.gguf_header import check_chat_model, read_header
from lanemesh_services.llm.llamacpp import LlamaCppEngine
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions
from lanemesh_services.llm.prepared import prepared
from lanemesh_services.llm.tiny import tiny_folder, tiny_gguf
from lanemesh_services.llm.transformers import TransformersEngine
from lanemesh_services.llm.transformers_model import TransformersOptions, load_batch
from lanemesh_services.shared.errors import EngineMissing, GenerationRefused, ModelUnusable

from conformance.llm.models_made import REFUSING, folder, gguf_file, gguf_header
from conformance.llm.turns import ask, read_turn, without

pytestmark = without("xllamacpp", "torch", "transformers", "gguf", "tokenizers")


@asynccontextmanager
async def llamacpp(made: Path) -> AsyncIterator[Engine]:
    engine = LlamaCppEngine.load(LlamaCppOptions(path=made, context_length=256, slots=1, threads=1))
    yield engine
    await engine.close()


@asynccontextmanager
async def transformers(made: Path) -> AsyncIterator[Engine]:
    options = TransformersOptions(model=str(made), context_length=256, threads=1, device="cpu")
    engine = TransformersEngine.load(options)
    yield engine
    await engine.close()


ENGINES = pytest.mark.parametrize(
    ("make", "serve"),
    [
        pytest.param(gguf_file, llamacpp, id="llamacpp"),
        pytest.param(folder, transformers, id="transformers", marks=pytest.mark.heavy),
    ],
)
Make = Callable[..., Path]
Serve = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("architecture", "values", "why"),
    [
        ("bert", {}, "embedding model"),
        ("nomic-bert", {}, "embedding model"),
        ("t5encoder", {}, "embedding model"),
        ("llama", {"llama__pooling_type": 3}, "embedding model"),
        ("llama", {"llama__attention__causal": False}, "embedding model"),
        ("t5", {}, "encoder and a decoder"),
        ("clip", {}, "multimodal"),
        ("llama", {"general__type": "adapter"}, 'of the type "adapter"'),
        ("llama", {"tensors": 0}, "no weights"),
        ("llama", {"tokenizer__ggml__model": None}, "no tokenizer"),
        ("llama", {"tokenizer__chat_template": None}, "no chat template"),
    ],
)
def test_error_a_file_that_holds_no_chat_model(
    tmp_path: Path, architecture: str, values: dict[str, Any], why: str
) -> None:
    path = gguf_header(tmp_path / "model.gguf", architecture, **values)

    with pytest.raises(ModelUnusable, match=why):
        LlamaCppEngine.load(LlamaCppOptions(path=path))
    with pytest.raises(ModelUnusable, match=why):
        prepared(path)


def test_happy_a_file_that_holds_a_chat_model(tmp_path: Path) -> None:
    check_chat_model(read_header(tiny_gguf()))
    check_chat_model(read_header(gguf_header(tmp_path / "pooling.gguf", llama__pooling_type=0)))


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_error_a_file_that_is_cut_off(tmp_path: Path, share: float) -> None:
    whole = tiny_gguf().read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(ModelUnusable, match="truncated"):
        LlamaCppEngine.load(LlamaCppOptions(path=path))


def test_error_a_folder_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="it is a folder"):
        LlamaCppEngine.load(LlamaCppOptions(path=tmp_path))


def test_error_an_architecture_that_llamacpp_does_not_know_is_named(tmp_path: Path) -> None:
    path = gguf_header(tmp_path / "model.gguf", "strange")

    with pytest.raises(ModelUnusable, match="unknown model architecture: 'strange'"):
        LlamaCppEngine.load(LlamaCppOptions(path=path))


def test_error_no_temp_folder_is_not_blamed_on_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tiny_gguf()
    # sitecustomize: no folder of the host can be written to
    (tmp_path / "sitecustomize.py").write_text("import tempfile\ntempfile._candidate_tempdir_list = lambda: []\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(EngineMissing, match="Set TMPDIR"):
        LlamaCppEngine.load(LlamaCppOptions(path=path))


async def test_a_long_temp_folder_is_no_hindrance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, long = tiny_gguf(), tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))

    async with llamacpp(path) as engine:
        assert (await ask(engine, "hello", max_tokens=2)).done.usage.completion_tokens
    assert not list(long.iterdir())


def _bert(path: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(path)


def _t5(path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    T5ForConditionalGeneration(
        T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).save_pretrained(path)


def _headless(path: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(tiny_folder()).save_pretrained(path)


def _sentences(path: Path) -> None:
    folder(path)
    (path / "modules.json").write_text("[]")


def _templateless(path: Path) -> None:
    folder(path)
    (path / "chat_template.jinja").unlink()


def _broken_template(path: Path) -> None:
    folder(path, template="{% for message in messages %}{{ message.nonsense.deeper }}{% endfor %}")


def _cut(path: Path) -> None:
    folder(path)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_bert, r"not a language model for chat|embedding or encoder model \(BertModel\)"),
        (_t5, r"not a language model for chat \(t5\)"),
        (_headless, r"embedding or encoder model \(LlamaModel\)"),
        (_sentences, "embedding model"),
        (_templateless, "no chat template"),
        (_broken_template, "chat template is invalid"),
        (_cut, "cannot load it"),
    ],
)
def test_error_a_folder_that_holds_no_chat_model(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    path = tmp_path / "model"
    make(path)

    with pytest.raises(ModelUnusable, match=why):
        load_batch(TransformersOptions(model=str(path), context_length=256, device="cpu"))


@ENGINES
async def test_what_a_template_refuses_is_folded_in(tmp_path: Path, make: Make, serve: Serve) -> None:
    made = make(tmp_path / "model", template=REFUSING, says=["a", "b", "<|im_end|>"])
    messages = [
        Message("system", "Be brief."),
        Message("user", "first"),
        Message("user", "second"),
    ]

    async with serve(made) as engine:
        turn = await read_turn(engine.chat(ChatRequest(tuple(messages))))

    assert (turn.text, turn.done.finish_reason) == ("ab", "stop")


@ENGINES
async def test_error_a_conversation_that_no_folding_mends(tmp_path: Path, make: Make, serve: Serve) -> None:
    made = make(tmp_path / "model", template=REFUSING)
    messages = [Message(role, "x") for role in ("user", "assistant", "tool")]

    async with serve(made) as engine:
        with pytest.raises(GenerationRefused, match=r"chat template of model.*roles must alternate.*roles") as raised:
            await read_turn(engine.chat(ChatRequest(tuple(messages))))

    assert raised.value.fault.details["field"] == "messages"


@ENGINES
@pytest.mark.parametrize(
    ("stop", "text"),
    [([], "abcd"), (["<|im_start|>"], "ab"), (["x", "<|im_start|>"], "ab"), (["cd"], "ab"), (["<|im_end|>"], "abcd")],
    ids=["none", "special", "one of two", "after a special one", "the end"],
)
async def test_a_stop_text_may_be_a_special_token(
    tmp_path: Path, make: Make, serve: Serve, stop: list[str], text: str
) -> None:
    made = make(tmp_path / "model", says=["a", "b", "<|im_start|>", "c", "d", "<|im_end|>"])

    async with serve(made) as engine:
        turn = await ask(engine, "q", temperature=0, max_tokens=12, stop=stop)

    assert (turn.text, turn.done.finish_reason) == (text, "stop")


@ENGINES
async def test_a_stop_text_may_be_cut_into_bytes(tmp_path: Path, make: Make, serve: Serve) -> None:
    bytes_of_e_acute = ["\u00c3", "\u00a9"]  # as byte-pair vocabularies write 0xC3 0xA9
    made = make(tmp_path / "model", says=["a", *bytes_of_e_acute, "b", "<|im_end|>"])

    async with serve(made) as engine:
        turn = await ask(engine, "q", temperature=0, max_tokens=12, stop=["\u00e9b"])

    assert (turn.text, turn.done.finish_reason) == ("a", "stop")


@pytest.mark.heavy
async def test_a_special_token_within_a_stop_text_is_found_by_transformers_and_refused_by_llamacpp(
    tmp_path: Path,
) -> None:
    says, stop = ["a", "b", "<|im_start|>", "c", "<|im_end|>"], ["b<|im_start|>c"]

    async with transformers(folder(tmp_path / "folder", says=says)) as engine:
        turn = await ask(engine, "q", temperature=0, max_tokens=12, stop=stop)
    assert (turn.text, turn.done.finish_reason) == ("a", "stop")

    async with llamacpp(gguf_file(tmp_path / "model.gguf", says=says)) as engine:
        with pytest.raises(GenerationRefused, match="use only the token"):
            await ask(engine, "q", temperature=0, max_tokens=12, stop=stop)


@ENGINES
async def test_an_image_for_a_model_of_text_is_refused(tmp_path: Path, make: Make, serve: Serve) -> None:
    message = Message("user", "What is it?", images=(Image("image/png", b"png"),))
    async with serve(make(tmp_path / "model")) as engine:
        with pytest.raises(
            GenerationRefused, match=r"1 image, .* reads only text; .* use llm_openai, .* with a projector"
        ):
            await read_turn(engine.chat(ChatRequest((message,))))
