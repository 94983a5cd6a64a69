"""The prompt service: puts a question, and documents if there are any, into words for a model."""

from lanemesh import Service

from lanemesh_services.prompt.prompt import Prompt

SERVICE = Service("prompt", [Prompt])
