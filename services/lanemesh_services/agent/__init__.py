"""The agent service: nodes that think with a model and act with tools."""

from lanemesh import Service

from lanemesh_services.agent.wave import AgentWave

SERVICE = Service("agent", [AgentWave])
