"""The `file` service: sources that send files and other inputs, and targets that write them."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.file.audio_player import AudioPlayer
from lanemesh_services.file.directory import Directory
from lanemesh_services.file.file_writer import FileWriter
from lanemesh_services.file.files import File
from lanemesh_services.file.table_writer import TableWriter
from lanemesh_services.file.timer import Timer
from lanemesh_services.file.webhook import Webhook

SERVICE = Service("file", [File, Webhook, Directory, Timer, FileWriter, TableWriter, AudioPlayer])
