"""The errors of GPU leases. Each message has the request, the blocking holder and what to do next."""

from __future__ import annotations

from lanemesh.faults import Code, Fault, LanemeshError


class LeaseError(LanemeshError):
    """A GPU lease that was not granted, or did not last."""


class LeaseTimeout(LeaseError):
    """The wait for a device was too long; the message names its holder and the time held."""


class NoSuchDevice(LeaseError):
    """No device fits the request: there is no GPU here, or none of that id."""


class LeaseLost(LeaseError):
    """The lease ended before its holder released it: work done under it may have met other work on the device."""


class GpuOutOfMemory(LeaseError):
    """A device had no memory left, also at the second attempt, alone on the device and without other models."""


class ArbiterUnreachable(LeaseError):
    """The GPU arbiter does not respond at its address."""


_KINDS: dict[str, tuple[type[LeaseError], Code]] = {
    "wait-timeout": (LeaseTimeout, Code.DEADLINE_EXCEEDED),
    "no-such-device": (NoSuchDevice, Code.FAILED_PRECONDITION),
    "expired": (LeaseLost, Code.ABORTED),
    "stale-token": (LeaseLost, Code.ABORTED),
    "shutdown": (LeaseLost, Code.UNAVAILABLE),
    "cancelled": (LeaseError, Code.CANCELLED),
    "queue-full": (LeaseError, Code.RESOURCE_EXHAUSTED),
    "out-of-memory": (GpuOutOfMemory, Code.RESOURCE_EXHAUSTED),
    "bad-request": (LeaseError, Code.INVALID_ARGUMENT),
    "too-large": (LeaseError, Code.FAILED_PRECONDITION),
    "preempted": (LeaseLost, Code.ABORTED),
    "offload-failed": (LeaseError, Code.INTERNAL),
    "arbiter-unreachable": (ArbiterUnreachable, Code.UNAVAILABLE),
}


def lease_error(reason: str, message: str, **details: str) -> LeaseError:
    """The error for a reason of `LeaseRevoked` (or of the lease client) in its words."""
    kind, code = _KINDS.get(reason, (LeaseError, Code.UNKNOWN))
    return kind(Fault(code=code, reason=f"gpu-{reason}", message=message, details=details))
