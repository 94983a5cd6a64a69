"""PDF files that a client could make to do harm, and a large one."""

from __future__ import annotations

import random
import zlib

FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"


def pdf(*objects: bytes) -> bytes:
    """A PDF of these objects, of which the first one is the catalog."""
    made, places = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, start=1):
        places.append(len(made))
        made += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, table)
    return bytes(made)


def stream(content: bytes, about: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< /Length %d %b>>\nstream\n%b\nendstream" % (len(content), about, content)


def packed(content: bytes) -> bytes:
    """A compressed stream object."""
    return stream(zlib.compress(content, 9), b"/Filter /FlateDecode ")


def page_of(content: bytes, count: int = 1) -> bytes:
    """A PDF whose one page has this content stream, and which claims to have so many."""
    page = b"<< /Type /Page /Parent 2 0 R /Resources << /Font << /F1 4 0 R >> /XObject << /X 6 0 R >> >> /Contents 5 0 R >>"
    form = stream(b"/X Do /X Do", b"/Type /XObject /Subtype /Form /Resources << /XObject << /X 6 0 R >> >> ")
    return pdf(CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count %d >>" % count, page, FONT, content, form)


def text_of(word: bytes, times: int = 1) -> bytes:
    """The content of a page that shows a word."""
    return b"BT /F1 12 Tf 10 10 Td " + b"(%b) Tj T* " % word * times + b"ET"


def large(pages: int, picture: int) -> bytes:
    """A PDF whose pages have a text and an attached stream of so many bytes each."""
    filler = random.Random(1).randbytes(picture)
    objects, kids = [CATALOG, b"", FONT], []
    for number in range(pages):
        place = len(objects) + 1
        kids.append(b"%d 0 R" % place)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R /Extra %d 0 R >>"
            % (place + 1, place + 2),
            stream(text_of(b"Page %d" % (number + 1))),
            stream(filler),
        ]
    objects[1] = b"<< /Type /Pages /Kids [%b] /Count %d >>" % (b" ".join(kids), pages)
    return pdf(*objects)
