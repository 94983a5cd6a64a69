"""The text service: small nodes over streams of text."""

from lanemesh import Service

from lanemesh_services.text.count import Count
from lanemesh_services.text.json_objects import JsonObjects
from lanemesh_services.text.pieces import JoinText, SplitText, UpperCase

SERVICE = Service("text", [UpperCase, SplitText, JoinText, JsonObjects, Count])
