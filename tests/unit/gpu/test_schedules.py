"""Random schedules of the arbiter: some hundred steps. `make gpu-schedules` takes 100,000, in CI too."""

from __future__ import annotations

import pytest
from hypothesis import settings

from gpu_schedules.leases import LeaseSchedules
from gpu_schedules.memory import MemorySchedules
from repeats import times

LeaseSchedules.TestCase.settings = settings(max_examples=times(15, 5), stateful_step_count=100, deadline=None)
MemorySchedules.TestCase.settings = settings(max_examples=times(30, 8), stateful_step_count=50, deadline=None)

TestLeaseSchedules = pytest.mark.conformance("GPU-01")(LeaseSchedules.TestCase)
TestMemorySchedules = MemorySchedules.TestCase
