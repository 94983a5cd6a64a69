"""The agent service: nodes that use a model and tools."""

from lanemesh import Service

from lanemesh_services.agent.langchain import AgentLangchain
from lanemesh_services.agent.python import AgentPython
from lanemesh_services.agent.wave import AgentWave

SERVICE = Service("agent", [AgentWave, AgentPython, AgentLangchain])
