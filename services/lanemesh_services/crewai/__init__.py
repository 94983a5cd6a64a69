"""The CrewAI service. CrewAI wants older packages than other services, so its nodes run in an environment of their own."""

from lanemesh import Environment, Service

from lanemesh_services.crewai.node import AgentCrewai

SERVICE = Service("crewai", [AgentCrewai], Environment(requirements=("crewai>=1.15,<2",)))
