"""How long leases of a device last, for the estimates of waiting requests. Plain values."""

from __future__ import annotations

from collections.abc import Collection

WEIGHT = 0.2
"""Weight of the latest lease in the mean, so that about the last ten count."""


class Pace:
    """The mean time for which each device is held."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}

    def ended(self, device: str, seconds: float) -> None:
        """A lease had a device for so long."""
        mean = self._mean.get(device)
        self._mean[device] = seconds if mean is None else mean + WEIGHT * (seconds - mean)

    def estimate(self, device: str, ahead: int, ages: Collection[float]) -> float | None:
        """Seconds until a request gets a device, by the past; None: no lease of it has ended yet.

        Args:
            device: the device.
            ahead: requests before it in the queue of the device.
            ages: for how long each present holder has had the device.
        """
        mean = self._mean.get(device)
        if mean is None:
            return None
        soonest = min((max(mean - age, 0.0) for age in ages), default=0.0)
        return soonest + mean * ahead / max(len(ages), 1)
