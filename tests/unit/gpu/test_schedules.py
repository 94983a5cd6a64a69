"""Random schedules of the arbiter. `make gpu-schedules` takes 100,000 steps of them."""

from __future__ import annotations

import pytest
from hypothesis import settings

from gpu_schedules.leases import LeaseSchedules
from gpu_schedules.memory import MemorySchedules

LeaseSchedules.TestCase.settings = settings(max_examples=15, stateful_step_count=100, deadline=None)
MemorySchedules.TestCase.settings = settings(max_examples=30, stateful_step_count=50, deadline=None)

TestLeaseSchedules = pytest.mark.conformance("GPU-01")(LeaseSchedules.TestCase)
TestMemorySchedules = MemorySchedules.TestCase
