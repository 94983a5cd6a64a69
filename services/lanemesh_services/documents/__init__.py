"""The `documents` service: reads, splits, summarises and anonymises documents."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.documents.anonymize import Anonymize
from lanemesh_services.documents.deanonymize import Deanonymize
from lanemesh_services.documents.extract import Extract
from lanemesh_services.documents.language import Language
from lanemesh_services.documents.ner import Ner
from lanemesh_services.documents.parse import Parse
from lanemesh_services.documents.splitter import Splitter
from lanemesh_services.documents.summarise import Summarise
from lanemesh_services.documents.translate import Translate

SERVICE = Service("documents", [Parse, Splitter, Summarise, Extract, Language, Translate, Ner, Anonymize, Deanonymize])
