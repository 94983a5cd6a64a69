"""The `video` service: frames of videos, videos of frames, and what joins media."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.video.compose import Compose
from lanemesh_services.video.frames import VideoFrames
from lanemesh_services.video.mux import VideoMux
from lanemesh_services.video.zip_by_time import ZipByTime

SERVICE = Service("video", [VideoFrames, VideoMux, ZipByTime, Compose])
