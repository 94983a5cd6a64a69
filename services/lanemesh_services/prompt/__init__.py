"""The prompt service: formats a question and any documents for a model."""

from lanemesh.node.node import Service

from lanemesh_services.prompt.prompt import Prompt

SERVICE = Service("prompt", [Prompt])
