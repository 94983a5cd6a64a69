"""Per-request sampling and delivery for the continuous batching of transformers.

Transformers samples a whole batch with one random generator and does not support a greedy request beside a sampled one. Here each
request has its own settings and its own random number for each token, so a seed gives the same answer in any batch.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from transformers import LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import OutputRouter

from lanemesh_services.llm.engine import Sampling

NEGATIVE = float("-inf")


def settings(sampling: Sampling, seed: int) -> dict[str, Any]:
    """The keyword arguments of `add_request` that carry a request's sampling settings."""
    return {
        "temperature": float(sampling.temperature),
        "top_p": float(sampling.top_p),
        "top_k": int(sampling.top_k),
        "seed": int(seed),
    }


def sampling_processors() -> ContinuousBatchingLogitsProcessorList:
    """The logits processors that apply the settings of each request; afterwards the most probable token is the chosen one."""
    temperature, top_p = _Setting("temperature", 0.0), _Setting("top_p", 1.0)
    top_k, chance = _Setting("top_k", 0), _Chance("seed", 0)
    chain = LogitsProcessorList([temperature, top_p, top_k, chance, _Choice(temperature, top_p, top_k, chance)])
    processors = ContinuousBatchingLogitsProcessorList(chain)
    processors.tensors_required = len(chain)
    return processors


class _Setting(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Carries one number of each request to the device, in a row of 32-bit numbers, and keeps it for `_Choice`."""

    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, name: str, default: float) -> None:
        self.name = name
        self.default = default
        self.dtype = torch.float32 if isinstance(default, float) else torch.int32
        self.supported_kwargs = {name: type(default)}
        self.row = torch.empty(0)

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Fills a row with the default."""
        int32_tensor.copy_(torch.full_like(int32_tensor, self.default, dtype=self.dtype).view(torch.int32))

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """The numbers of these requests, in their order."""
        values = [self.value(request.state) for request in requests_with_new_token]
        return torch.tensor(values, dtype=self.dtype).view(torch.int32)

    def value(self, state: Any) -> float:
        """The number of one request."""
        given: float = state.logit_processor_kwargs.get(self.name, self.default)
        return given

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        self.row = tensor_arg[: scores.size(0)].view(self.dtype)
        return scores


class _Chance(_Setting):
    """A random number from 0 to 1 for each token: a hash of the request's seed and the token's place.

    Stateless, so a request that was preempted and restarted continues with the same numbers.
    """

    def __init__(self, name: str, default: int) -> None:
        super().__init__(name, default)
        self.dtype = torch.float32

    def value(self, state: Any) -> float:
        """The number for the next token of one request."""
        seed = state.logit_processor_kwargs.get(self.name, self.default)
        digest = hashlib.blake2b(f"{seed}:{state.position_offset}".encode(), digest_size=3).digest()
        return int.from_bytes(digest, "big") / 2**24  # 24 bits: exact in float32, and never 1


class _Choice(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Chooses the token of each request, and makes it the most probable one."""

    supported_kwargs: ClassVar[dict[str, type]] = {}
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, temperature: _Setting, top_p: _Setting, top_k: _Setting, chance: _Setting) -> None:
        self._settings = (temperature, top_p, top_k, chance)

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """It has no number of its own."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """It has no numbers of its own."""
        return torch.zeros(len(requests_with_new_token), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        temperature, top_p, top_k, chance = (setting.row for setting in self._settings)
        if scores.device.type != "cpu":  # no branches that wait for the device
            return choose(scores, temperature, top_p, top_k, chance)
        sampled = temperature > 0
        if bool(sampled.any()):
            narrow = int(top_k[sampled].max()) if bool((top_k[sampled] > 0).all()) else 0
            picked = (temperature[sampled], top_p[sampled], top_k[sampled], chance[sampled])
            scores[sampled] = choose(scores[sampled], *picked, narrow=narrow)
        return scores


def choose(
    scores: torch.Tensor,
    temperature: torch.Tensor,
    top_p: torch.Tensor,
    top_k: torch.Tensor,
    chance: torch.Tensor,
    *,
    narrow: int = 0,
) -> torch.Tensor:
    """Scores that keep only the chosen token of each row; rows with temperature 0 keep their most probable one.

    Args:
        scores: one row of logits per request.
        temperature, top_p, top_k, chance: one number per row; `chance` is the position in the remaining probability at which
            the choice falls (inverse transform sampling).
        narrow: if not 0, no row has a greater top_k, so that only this number of tokens is sorted.
    """
    width = min(narrow, scores.size(-1)) if narrow else scores.size(-1)
    ranked, order = torch.topk(scores, width, dim=-1)
    probabilities = torch.softmax(ranked / temperature.clamp_min(1e-6).unsqueeze(-1), dim=-1)
    rank = torch.arange(width, device=scores.device)
    unlimited = torch.where(top_k > 0, top_k, width).unsqueeze(-1)
    probabilities = probabilities.masked_fill(rank >= unlimited, 0.0)
    probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill((before >= top_p.unsqueeze(-1)) & (rank > 0), 0.0)
    cumulated = probabilities.cumsum(dim=-1)
    target = (chance * cumulated[:, -1]).unsqueeze(-1)
    place = (cumulated <= target).sum(dim=-1, keepdim=True).clamp_max(width - 1)
    place = torch.where((temperature > 0).unsqueeze(-1), place, torch.zeros_like(place))
    chosen = order.gather(-1, place)
    return torch.full_like(scores, NEGATIVE).scatter_(-1, chosen, 0.0)


class Deliveries(OutputRouter):  # type: ignore[misc]
    """Delivers each request's outputs to its own receiver, in its own event loop, and drops outputs without a receiver.

    The library's router keeps outputs of cancelled requests for ever, and serves one event loop only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._receivers: dict[str, tuple[asyncio.AbstractEventLoop, Callable[[Any], None]]] = {}

    def subscribe(self, request_id: str, receive: Callable[[Any], None]) -> None:
        """Calls `receive` in the running event loop with each output of a request."""
        with self._lock:
            self._receivers[request_id] = (asyncio.get_running_loop(), receive)

    def unsubscribe(self, request_id: str) -> None:
        """Drops further outputs of a request."""
        with self._lock:
            self._receivers.pop(request_id, None)

    def deliver(self, output: Any) -> None:
        """Delivers one output. Called in the engine's thread."""
        self.deliver_batch([output])

    def deliver_batch(self, outputs: Iterable[Any]) -> None:
        """Delivers the outputs of one step and wakes each event loop once. Called in the engine's thread."""
        grouped: dict[asyncio.AbstractEventLoop, list[tuple[Callable[[Any], None], Any]]] = {}
        with self._lock:
            for output in outputs:
                if receiver := self._receivers.get(output.request_id):
                    loop, receive = receiver
                    grouped.setdefault(loop, []).append((receive, output))
        for loop, calls in grouped.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_call_all, calls)


def _call_all(calls: list[tuple[Callable[[Any], None], Any]]) -> None:
    for receive, output in calls:
        receive(output)
