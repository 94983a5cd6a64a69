"""The llm service: language models of three engines, and of servers behind HTTP, behind one interface."""

from lanemesh import Service

from lanemesh_services.llm.barge_in import BargeIn
from lanemesh_services.llm.hosted_nodes import LlmAnthropic, LlmGemini, LlmOpenai
from lanemesh_services.llm.nodes import LlmLlamacpp, LlmScripted, LlmTransformers
from lanemesh_services.llm.router import LlmRouter

SERVICE = Service(
    "llm", [LlmLlamacpp, LlmTransformers, LlmScripted, LlmOpenai, LlmAnthropic, LlmGemini, LlmRouter, BargeIn]
)
