"""Compares every reversal with the transaction that it reverses."""

from collections.abc import Sequence
from typing import Any

from app.ledger.proof.faults import Fault, FaultKind, Report
from app.ledger.proof.reading import collection
from app.ledger.records import TransactionKind, TransactionStatus
from app.mongo import Document, moment


def check_reversals(report: Report, movements: Sequence[Document]) -> None:
    """Compare each reversal with its original, whichever of the two is in `movements`."""
    linked = [record for record in movements if _other_end(record) is not None]
    if not linked:
        return
    ends = {"$in": [_other_end(record) for record in linked]}
    others = {record["_id"]: record for record in collection("transactions").find({"_id": ends})}
    for record in linked:
        if _reversal_fault(record, others.get(_other_end(record))) is None:
            continue
        with moment() as session:
            this = collection("transactions").find_one({"_id": record["_id"]}, session=session) or {}
            other = collection("transactions").find_one({"_id": _other_end(this)}, session=session)
        fault = _reversal_fault(this, other)
        if fault is not None:
            report.add(fault)


def _other_end(record: Document) -> Any:
    """Return the original's id for a reversal, the reversal's id for an original, and None for any other record."""
    if record.get("status") == TransactionStatus.REVERSED:
        return record.get("reversed_by", "none")
    if record.get("kind") == TransactionKind.REVERSAL and record.get("status") == TransactionStatus.COMPLETED:
        return record.get("reverses", "none")
    return None


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
