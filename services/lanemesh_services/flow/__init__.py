"""The `flow` service: routes, filters, batches, paces and caches items, and runs pipelines as nodes."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.flow.cache import Cache
from lanemesh_services.flow.conditions import Filter, Map
from lanemesh_services.flow.dedupe import Dedupe
from lanemesh_services.flow.http_request import HttpRequest
from lanemesh_services.flow.lists import BatchItems, Unbatch
from lanemesh_services.flow.pacing import SortWindow, Throttle
from lanemesh_services.flow.python import Python
from lanemesh_services.flow.sub_pipeline import SubPipeline
from lanemesh_services.flow.switch import Switch

SERVICE = Service(
    "flow",
    [
        BatchItems,
        Cache,
        Dedupe,
        Filter,
        HttpRequest,
        Map,
        Python,
        SortWindow,
        SubPipeline,
        Switch,
        Throttle,
        Unbatch,
    ],
)
