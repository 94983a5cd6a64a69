"""The agent cards of deployed pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2a.types import a2a_pb2
from a2a.utils.constants import PROTOCOL_VERSION_1_0, TransportProtocol

if TYPE_CHECKING:
    from lanemesh_orchestrator.mcp_server.offers import Offer

_MODES = {"text": "text/plain", "data": "application/json", "image": "image/*", "audio": "audio/*", "video": "video/*"}


def card_of(offer: Offer, http_url: str, grpc_address: str, *, token: bool) -> a2a_pb2.AgentCard:
    """The card of a deployed pipeline.

    Args:
        offer: the pipeline.
        http_url: URL of the server for JSON-RPC, without a path; empty: there is none.
        grpc_address: "host:port" of the server for gRPC; empty: there is none.
        token: clients have to send a token.
    """
    card = a2a_pb2.AgentCard(
        name=offer.name,
        description=offer.description,
        version=str(offer.version),
        capabilities=a2a_pb2.AgentCapabilities(streaming=True, push_notifications=False, extended_agent_card=True),
        default_input_modes=[_MODES[one.name] for one in offer.arguments] or [_MODES["data"]],
        default_output_modes=["text/plain", "application/json"],
        skills=[a2a_pb2.AgentSkill(id=offer.name, name=offer.name, description=offer.description, tags=["pipeline"])],
    )
    if http_url:
        card.supported_interfaces.add(
            url=f"{http_url}/{offer.name}",
            protocol_binding=TransportProtocol.JSONRPC.value,
            protocol_version=PROTOCOL_VERSION_1_0,
        )
    if grpc_address:
        card.supported_interfaces.add(
            url=grpc_address,
            protocol_binding=TransportProtocol.GRPC.value,
            protocol_version=PROTOCOL_VERSION_1_0,
            tenant=offer.name,
        )
    if token:
        scheme = card.security_schemes["bearer"].http_auth_security_scheme
        scheme.scheme = "Bearer"
        card.security_requirements.add().schemes["bearer"].SetInParent()
    return card
