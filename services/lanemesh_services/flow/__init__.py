"""The `flow` service: routes, filters, batches and paces items, and runs pipelines as nodes."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.flow.conditions import Filter, Map
from lanemesh_services.flow.sub_pipeline import SubPipeline
from lanemesh_services.flow.switch import Switch

SERVICE = Service("flow", [Filter, Map, SubPipeline, Switch])
