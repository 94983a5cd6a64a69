"""The `pictures` service: reads, converts, classifies and generates images."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.pictures.classify import ImageClassify
from lanemesh_services.pictures.convert import ImageConvert
from lanemesh_services.pictures.generate import ImageGenerate
from lanemesh_services.pictures.ocr import Ocr
from lanemesh_services.pictures.style import ImageStyle

SERVICE = Service("pictures", [Ocr, ImageConvert, ImageClassify, ImageStyle, ImageGenerate])
