"""Documents whose text has not been read: every node type but `parse` refuses them."""

from __future__ import annotations

from lanemesh import Code, Document, Fault, LanemeshError


class FileNotRead(LanemeshError):
    """A document has a file, and its text has not been read."""


def text_of(document: Document) -> str:
    """The text of a document. Raises FileNotRead if it has a file instead ("file-not-read")."""
    if document.content or document.file is None:
        return document.content
    name = document.source or "without a name"
    message = (
        f"the document {name} is a file of the type {document.file.mime_type or 'unknown'} whose text has not been read. "
        "Connect a parse before this component, or send the text of the document"
    )
    details = {"source": document.source, "mime-type": document.file.mime_type}
    raise FileNotRead(Fault(code=Code.INVALID_ARGUMENT, reason="file-not-read", message=message, details=details))
