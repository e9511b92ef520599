"""Documents with two fields by one name, which the driver never writes."""

import bson

from app.mongo import Document


def joined(*parts: Document) -> bytes:
    """Return one document with the fields of all these, so that a name may occur twice."""
    fields = b"".join(bson.encode(part)[4:-1] for part in parts)
    return (len(fields) + 5).to_bytes(4, "little") + fields + b"\0"
