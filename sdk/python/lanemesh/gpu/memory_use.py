"""How much device memory this process uses, by the library that allocates it: simulated devices, or PyTorch on CUDA."""

from __future__ import annotations

import gc
import sys
from typing import Any

from lanemesh.rendering import text_of

OUT_OF_MEMORY_TEXTS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""What messages of libraries contain when a device has no memory left."""


class OutOfMemory(RuntimeError):
    """A device has no memory left for an allocation. Simulated devices raise it; a node may raise it for libraries of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or its cause, reports that a device has no memory left."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return False
        if isinstance(seen, OutOfMemory) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, RuntimeError) and any(text in text_of(seen) for text in OUT_OF_MEMORY_TEXTS):
            return True
        seen = seen.__cause__
    return False


def free_cache(device: str) -> None:
    """Returns cached memory of this process to a device, if PyTorch has any there. May take milliseconds."""
    torch = _torch(device)
    if torch is not None:
        gc.collect()
        torch.cuda.empty_cache()


def begin_peak(device: str) -> None:
    """Begins a measurement of the peak. PyTorch has one for all of the process."""
    torch = _torch(device)
    if torch is not None:
        torch.cuda.reset_peak_memory_stats(_index(device))


def peak_since(device: str) -> int:
    """The most bytes that this process had on a device since `begin_peak`; 0: unknown."""
    torch = _torch(device)
    return int(torch.cuda.max_memory_reserved(_index(device))) if torch is not None else 0


def _index(device: str) -> int:
    return int(device.rpartition(":")[2])


def _torch(device: str) -> Any:
    """PyTorch, if this process uses it on CUDA; None otherwise. It is never imported for that."""
    torch = sys.modules.get("torch") if device.startswith("cuda:") else None
    cuda = getattr(torch, "cuda", None)
    return torch if cuda is not None and cuda.is_initialized() else None
