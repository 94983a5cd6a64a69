"""The llm service: language models of three engines behind one interface."""

from lanemesh import Service

from lanemesh_services.llm.nodes import LlmLlamacpp, LlmScripted, LlmTransformers

SERVICE = Service("llm", [LlmLlamacpp, LlmTransformers, LlmScripted])
