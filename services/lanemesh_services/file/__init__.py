"""The `file` service: sends the files and the other inputs of a client into the pipeline, each on the lane of its type."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.file.files import File
from lanemesh_services.file.webhook import Webhook

SERVICE = Service("file", [File, Webhook])
