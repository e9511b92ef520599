"""Compares every reversal with the transaction that it reverses, and with its mark.

A mark is a document of `reversals`. It keeps a transaction from being reversed twice.
"""

from collections.abc import Sequence
from typing import Any

import bson
from bson import ObjectId

from app.ledger.proof.faults import Fault, FaultKind, Report
from app.ledger.proof.fields import PLAIN, hidden_in
from app.ledger.proof.reading import are_reversals_kept, collection, read_raw
from app.ledger.proof.rows import CODEC
from app.ledger.proof.shapes import split
from app.ledger.records import TransactionKind, TransactionStatus
from app.mongo import Document, moment


def check_reversals(report: Report, movements: Sequence[Document]) -> None:
    """Compare each reversal with its original. `movements` has at least one of the two."""
    linked = [record for record in movements if _other_end(record) is not None]
    if not linked:
        return
    ends = {"$in": [_other_end(record) for record in linked]}
    others = {record["_id"]: record for record in collection("transactions").find({"_id": ends})}
    # One block wrote a reversal and its mark, and no mark ever changes. So no snapshot is needed.
    marks = _marks(linked) if are_reversals_kept() else None
    for record in linked:
        if _reversal_fault(record, others.get(_other_end(record))) is None:
            if marks is not None and _is_reversal(record):
                _check_mark(report, record, marks)
            continue
        with moment() as session:
            this = collection("transactions").find_one({"_id": record["_id"]}, session=session) or {}
            other = collection("transactions").find_one({"_id": _other_end(this)}, session=session)
        fault = _reversal_fault(this, other)
        if fault is not None:
            report.add(fault)


def check_marks(report: Report) -> None:
    """Find marks of reversals that do not exist. Such a mark keeps a transaction from ever being reversed."""
    known = {fault.transaction for fault in report.faults if fault.kind is FaultKind.REVERSAL}
    for batch in read_raw("reversals", {}, [("_id", 1)]):
        marks = []
        for raw in split(batch):
            mark = bson.decode(raw, CODEC)
            marks.append(mark)
            if (hidden := hidden_in(raw, mark, CODEC)) is not None:
                of = _id_or(mark.get("_id"), None)
                report.add(Fault(kind=FaultKind.FORMAT, transaction=of, expected=f"a mark with {PLAIN}", found=hidden))
        # Read after the marks, so that every reversal that they name exists by now.
        named: Document = {"_id": {"$in": [_id_or(mark.get("by"), "none") for mark in marks]}}
        found = {record["_id"]: record for record in collection("transactions").find(named)}
        for mark in marks:
            of, reversal = _id_or(mark.get("_id"), None), found.get(_id_or(mark.get("by"), "none"), {})
            if of is not None and ((_is_reversal(reversal) and reversal.get("reverses") == of) or of in known):
                continue
            expected = "a completed REVERSAL that `reversals` names"
            report.add(Fault(kind=FaultKind.REVERSAL, transaction=of, expected=expected, found=str(mark.get("by"))))


def _marks(linked: Sequence[Document]) -> dict[Any, Any]:
    """Return which original each of these reversals reversed, according to `reversals`."""
    originals: Document = {"_id": {"$in": [_other_end(record) for record in linked if _is_reversal(record)]}}
    return {mark["_id"]: mark.get("by") for mark in collection("reversals").find(originals)}


def _check_mark(report: Report, reversal: Document, marks: dict[Any, Any]) -> None:
    found = marks.get(reversal["reverses"])
    if found != reversal["_id"]:
        expected = f"the reversal {reversal['_id']} in `reversals`"
        found_text = None if found is None else str(found)
        report.add(
            Fault(kind=FaultKind.REVERSAL, transaction=reversal["reverses"], expected=expected, found=found_text)
        )


def _is_reversal(record: Document) -> bool:
    return record.get("kind") == TransactionKind.REVERSAL and record.get("status") == TransactionStatus.COMPLETED


def _other_end(record: Document) -> Any:
    """Return the original's id for a reversal, the reversal's id for an original, and None for any other record.

    It is "none" if there is no id. Of a forged value, even the hash may be missing.
    """
    if record.get("status") == TransactionStatus.REVERSED:
        return _id_or(record.get("reversed_by"), "none")
    if _is_reversal(record):
        return _id_or(record.get("reverses"), "none")
    return None


def _id_or(value: Any, otherwise: str | None) -> Any:
    return value if isinstance(value, ObjectId) else otherwise


def _reversal_fault(this: Document, found: Document | None) -> Fault | None:
    other = found or {}
    if _other_end(this) is None:
        return None
    is_reversed = this.get("status") == TransactionStatus.REVERSED
    original, reversal = (this, other) if is_reversed else (other, this)
    agree = (
        original.get("status") == TransactionStatus.REVERSED
        and reversal.get("kind") == TransactionKind.REVERSAL
        and reversal.get("status") == TransactionStatus.COMPLETED
        and (original.get("reversed_by"), reversal.get("reverses")) == (reversal.get("_id"), original.get("_id"))
        and (original.get("from_account"), original.get("to_account"), original.get("amount"))
        == (reversal.get("to_account"), reversal.get("from_account"), reversal.get("amount"))
    )
    if agree:
        return None
    expected = "the opposite REVERSAL that names it" if is_reversed else "the REVERSED transaction that names it"
    described = f"{other.get('kind')} {other.get('status')} {other.get('_id')}" if other else None
    return Fault(kind=FaultKind.REVERSAL, transaction=this["_id"], expected=expected, found=described)
