"""The `file` service: sources that send files and other inputs, and targets that write them."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.file.directory import Directory
from lanemesh_services.file.files import File
from lanemesh_services.file.timer import Timer
from lanemesh_services.file.webhook import Webhook

SERVICE = Service("file", [File, Webhook, Directory, Timer])
