"""The memory service: nodes that keep values for agents, in the process of their server or in a database."""

from lanemesh import Service

from lanemesh_services.memory.internal import MemoryInternal
from lanemesh_services.memory.store import MemoryStore

SERVICE = Service("memory", [MemoryInternal, MemoryStore])
