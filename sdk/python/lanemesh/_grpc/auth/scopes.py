"""What callers may do: the scopes of tokens, and which of them each method needs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Scope(StrEnum):
    """A permission of a token."""

    RUN = "run"
    """Run pipelines; watch, feed and cancel runs, and use sessions, whose ids the caller knows; use channels and tools. Ids are
    random, so others cannot guess them."""
    DEPLOY = "deploy"
    """Deploy pipelines under a name, and remove them."""
    WATCH = "watch"
    """List and read all runs, deployments, sessions and devices."""
    ADMIN = "admin"
    """Everything that `run`, `deploy` and `watch` permit, and methods that this table lacks."""
    NODE = "node"
    """Be a part of the mesh: join as a node server, host runs, open lanes, serve helpers, lease GPUs."""


RUN, DEPLOY, WATCH, ADMIN, NODE = Scope.RUN, Scope.DEPLOY, Scope.WATCH, Scope.ADMIN, Scope.NODE
ANY: frozenset[Scope] = frozenset(Scope)

NO_TOKEN = frozenset({"grpc.health.v1.Health"})
"""Services that need no token: load balancers and containers check the health of a server, and it reports nothing else."""


def _scopes(*scopes: Scope) -> frozenset[Scope]:
    """One of these, or for what people and programs do also `admin`."""
    return frozenset(scopes) if scopes == (NODE,) else frozenset({*scopes, ADMIN})


_METHODS: Mapping[str, Mapping[str, frozenset[Scope]]] = {
    "lanemesh.v1.RunService": {
        "Run": _scopes(RUN),
        "StartRun": _scopes(RUN),
        "PushInput": _scopes(RUN),
        "CancelRun": _scopes(RUN),
        "DecideApproval": _scopes(RUN),
        "WatchRun": _scopes(RUN, WATCH),
        "GetRun": _scopes(RUN, WATCH),
        "ListRuns": _scopes(WATCH),
        "ValidatePipeline": _scopes(RUN, DEPLOY),
    },
    "lanemesh.v1.DeploymentService": {
        "Deploy": _scopes(DEPLOY),
        "Undeploy": _scopes(DEPLOY),
        "ListDeployments": _scopes(RUN, DEPLOY, WATCH),
        "GetDeployment": _scopes(RUN, DEPLOY, WATCH),
    },
    "lanemesh.v1.SessionService": {
        "GetSession": _scopes(RUN, WATCH),
        "ListSessions": _scopes(WATCH),
        "ForkSession": _scopes(RUN),
        "DeleteSession": _scopes(RUN),
    },
    "lanemesh.v1.RegistryService": {
        "Register": _scopes(NODE),
        "ListNodeTypes": _scopes(RUN, DEPLOY, WATCH, NODE),
        "ListNodeServers": _scopes(RUN, DEPLOY, WATCH, NODE),
    },
    "lanemesh.v1.ChannelService": {
        "Publish": _scopes(RUN, NODE),
        "Subscribe": _scopes(RUN, NODE),
        "Acknowledge": _scopes(RUN, NODE),
        "CloseChannel": _scopes(RUN, NODE),
    },
    "lanemesh.v1.NodeService": {
        "Describe": _scopes(NODE),
        "Host": _scopes(NODE),
        "Exchange": _scopes(NODE),
        "ExchangeShort": _scopes(NODE),
    },
    "lanemesh.v1.LlmService": {"Generate": _scopes(NODE)},
    "lanemesh.v1.ToolService": {"ListTools": _scopes(RUN, NODE), "CallTool": _scopes(RUN, NODE)},
    "lanemesh.v1.MemoryService": {
        "Put": _scopes(NODE),
        "Get": _scopes(NODE),
        "List": _scopes(NODE),
        "Search": _scopes(NODE),
        "Clear": _scopes(NODE),
    },
    "lanemesh.v1.AgentService": {"RunAgent": _scopes(NODE)},
    "lanemesh.v1.GpuArbiterService": {
        "Lease": _scopes(NODE),
        "ListDevices": _scopes(WATCH, NODE),
        "ListLeases": _scopes(WATCH, NODE),
        "Explain": _scopes(WATCH, NODE),
        "Watch": _scopes(WATCH, NODE),
    },
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": ANY},
    "lf.a2a.v1.A2AService": {
        "SendMessage": _scopes(RUN),
        "SendStreamingMessage": _scopes(RUN),
        "GetTask": _scopes(RUN),
        "ListTasks": _scopes(RUN),
        "CancelTask": _scopes(RUN),
        "SubscribeToTask": _scopes(RUN),
        "CreateTaskPushNotificationConfig": _scopes(RUN),
        "GetTaskPushNotificationConfig": _scopes(RUN),
        "ListTaskPushNotificationConfigs": _scopes(RUN),
        "DeleteTaskPushNotificationConfig": _scopes(RUN),
        "GetExtendedAgentCard": _scopes(RUN),
    },
}

METHOD_SCOPES: Mapping[str, frozenset[Scope]] = {
    f"/{service}/{method}": scopes for service, methods in _METHODS.items() for method, scopes in methods.items()
}
"""The scopes of each method, one of which a caller needs."""
OTHER_METHODS = frozenset({ADMIN})
"""Those of methods that the table lacks, such as of a service that a program adds."""


def needs_token(method: str) -> bool:
    """Whether a method, "/service/method", needs a token."""
    return method[1:].partition("/")[0] not in NO_TOKEN


def scopes_of(method: str) -> frozenset[Scope]:
    """The scopes, one of which a caller of this method needs."""
    return METHOD_SCOPES.get(method, OTHER_METHODS)
