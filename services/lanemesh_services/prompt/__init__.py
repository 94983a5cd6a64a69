"""The prompt service: formats a question and any documents for a model."""

from lanemesh import Service

from lanemesh_services.prompt.prompt import Prompt

SERVICE = Service("prompt", [Prompt])
