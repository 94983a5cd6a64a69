"""The question of scan_invoice.pipe."""

from __future__ import annotations

from lanemesh import Document, Question, node

SCHEMA = {
    "type": "object",
    "properties": {
        "seller": {"type": "string"},
        "number": {"type": "string"},
        "date": {"type": "string"},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "item": {"type": "string"},
                    "quantity": {"type": "number"},
                    "amount": {"type": "number"},
                },
                "required": ["item", "quantity", "amount"],
                "additionalProperties": False,
            },
        },
        "total": {"type": "number"},
        "currency": {"type": "string"},
    },
    "required": ["seller", "number", "date", "lines", "total", "currency"],
    "additionalProperties": False,
}


@node
def ask_invoice(documents: Document) -> Question:
    """Asks for the fields of an invoice, from the text of its scan."""
    if "total" not in documents.content.lower():
        raise ValueError(f"this is no invoice: {documents.content[:200]!r}")
    return Question("Which invoice is this? Answer with its fields.", documents=(documents,), schema=SCHEMA)
