"""torch and transformers as an engine: any model folder, hub id or GGUF file, on a GPU if there is one.

All generations of the node server go through one continuous batch: each step of the model generates one token for each of them, so
eight concurrent ones take hardly longer than one.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import secrets
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, Usage
from lanemesh.extend import in_thread

from lanemesh_services.llm.engine import Sampling, check_request
from lanemesh_services.llm.errors import closed, failed, refused, template_refuses
from lanemesh_services.llm.messages import chat_messages, folded, without_images
from lanemesh_services.llm.text import Detokenizer, StopScanner
from lanemesh_services.llm.transformers_model import TransformersOptions, end_tokens, load_batch

STOP_WAIT = 5.0
"""Seconds that closing waits at most for the current step."""
EXIT_WAIT = 2.0
"""The same at the exit of the interpreter."""


class TransformersEngine:
    """A loaded model of transformers. Create one with `load`."""

    def __init__(self, manager: Any, deliveries: Any, tokenizer: Any, options: TransformersOptions) -> None:
        self._manager = manager
        self._deliveries = deliveries
        self._tokenizer = tokenizer
        self._options = options
        self._numbers = itertools.count()
        self._active: dict[str, _Latest] = {}
        self._closed = False
        _engines.add(self)

    @classmethod
    def load(cls, options: TransformersOptions) -> Self:
        """Loads a model. Blocks for a second or more, so call it in a thread.

        Raises:
            ModelMissing: there is no such folder, and the hub does not have it or cannot be reached.
            ModelUnusable: transformers cannot load it.
            ModelTooLarge: weights or context do not fit.
            EngineMissing: torch or transformers is not installed.
        """
        return cls(*load_batch(options), options)

    @property
    def active(self) -> int:
        """How many generations are in the batch or waiting for it."""
        return len(self._active)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn; see `Engine.chat`. A slow reader gets several tokens in one piece."""
        prompt, sampling = self._prompt(request)
        limit = min(sampling.max_tokens, self._options.context_length - len(prompt))
        detokenizer, stops = Detokenizer(self._decoder(sampling.stop)), StopScanner(sampling.stop)
        request_id, latest = self._submit(prompt, sampling, limit)
        try:
            while True:
                output = await latest.next()
                if output.error is not None:
                    raise failed(str(output.error))
                tokens, finished = output.generated_tokens, output.is_finished()
                text = stops.push(detokenizer.finish(tokens) if finished else detokenizer.push(tokens))
                if finished and not stops.stopped:
                    text += stops.finish()
                if text:
                    yield ChatText(text)
                if finished or stops.stopped:
                    break
        finally:
            self._cancel(request_id)
        ended = stops.stopped or tokens[-1] in self._end_tokens()
        yield Usage(len(prompt), len(tokens))
        yield ChatFinish("stop" if ended else "length")

    async def close(self) -> None:
        """Ends every generation and frees the model; waits for the current step."""
        self._closed = True
        for latest in list(self._active.values()):
            latest.close()
        await in_thread(self._stop, STOP_WAIT)

    def _stop(self, timeout: float) -> None:
        self._closed = True
        if self._manager is not None:
            self._manager.stop(block=True, timeout=timeout, hard_stop=True)
            self._manager = None

    def _prompt(self, request: ChatRequest) -> tuple[list[int], Sampling]:
        check_request(request)
        sampling = Sampling.of(request)
        if request.schema is not None:
            raise refused("json_schema", "is not supported by llm_transformers; use llm_llamacpp")
        if request.tools:
            raise refused("tools", "are not supported by llm_transformers; use llm_llamacpp")
        without_images(request, "llm_transformers")
        text = self._written(chat_messages(request.messages))
        prompt = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        if len(prompt) >= self._options.context_length:
            why = f"have {len(prompt)} tokens, and context_length is {self._options.context_length}"
            raise refused(
                "messages", f"{why}: shorten the conversation, or raise context_length in the component's config"
            )
        return prompt, sampling

    def _written(self, messages: list[dict[str, Any]]) -> str:
        """The conversation in the format of the model's chat template, merged if necessary."""
        from jinja2 import TemplateError

        try:
            return self._template(messages)
        except TemplateError as error:
            refusal = template_refuses(Path(self._options.model).name, str(error) or type(error).__name__)
        try:
            return self._template(folded(messages))
        except TemplateError:
            raise refusal from None

    def _template(self, messages: list[dict[str, Any]]) -> str:
        written = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return str(written)

    def _submit(self, prompt: list[int], sampling: Sampling, max_tokens: int) -> tuple[str, _Latest]:
        from lanemesh_services.llm.batching import settings

        if self._closed:
            raise closed()
        request_id, latest = f"generation-{next(self._numbers)}", _Latest()
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        self._active[request_id] = latest
        self._deliveries.subscribe(request_id, latest.put)
        accepted = self._manager.add_request(
            prompt, request_id=request_id, max_new_tokens=max_tokens, streaming=True, **settings(sampling, seed)
        )
        if accepted is None:
            self._cancel(request_id)
            raise failed("the model failed earlier", "The node server's log has the cause; restart the node server.")
        return request_id, latest

    def _cancel(self, request_id: str) -> None:
        """Removes a request from the batch before its next step; no effect if it has ended."""
        self._deliveries.unsubscribe(request_id)
        if self._active.pop(request_id, None) is not None and self._manager is not None:
            self._manager.cancel_request(request_id)

    def _decoder(self, stops: Sequence[str]) -> Callable[[Sequence[int]], str]:
        """Decodes tokens without special ones, except those in a stop text."""
        names = dict(zip(self._tokenizer.all_special_ids, self._tokenizer.all_special_tokens, strict=True))
        names |= {number: str(token) for number, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        skipped = frozenset(number for number, name in names.items() if not any(name in stop for stop in stops))

        def decode(tokens: Sequence[int]) -> str:
            written = [token for token in tokens if token not in skipped]
            text: str = self._tokenizer.decode(written, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            return text

        return decode

    def _end_tokens(self) -> tuple[int, ...]:
        return end_tokens(self._manager.generation_config.eos_token_id if self._manager else None)


class _Latest:
    """The latest output of a request. Each one has all tokens so far, so a slow reader may skip outputs."""

    def __init__(self) -> None:
        self._output: Any = None
        self._arrived = asyncio.Event()
        self._closed = False

    def put(self, output: Any) -> None:
        self._output = output
        self._arrived.set()

    def close(self) -> None:
        self._closed = True
        self._arrived.set()

    async def next(self) -> Any:
        """Waits for a new output. Raises `GenerationFailed` once the engine is closed."""
        await self._arrived.wait()
        self._arrived.clear()
        if self._closed:
            raise closed()
        return self._output


_engines: weakref.WeakSet[TransformersEngine] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stops every batch before the interpreter ends: a thread in torch could crash the process then."""
    for engine in list(_engines):
        engine._stop(EXIT_WAIT)
