"""The `pictures` service: reads, converts, classifies and generates images."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.pictures.convert import ImageConvert
from lanemesh_services.pictures.ocr import Ocr

SERVICE = Service("pictures", [ImageConvert, Ocr])
