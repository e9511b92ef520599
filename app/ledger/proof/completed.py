"""Completed transfers and fundings straight out of BSON, each with the entries that it must have.

Almost all records are these, so here are no calls and no objects that are not needed. It says of a record what
`slips` and `plain` would say, which explain more, and leaves to them each that looks the least different.
"""

import hashlib
import json
import struct
from binascii import hexlify
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import bson
from bson.errors import InvalidBSON

from app.ledger.proof import shapes
from app.ledger.proof.plain import CREDITED, DEBITED, NO_TEXT, SEALED, TEXT, TIME, UNSEALED, Owner, treasury_of
from app.ledger.proof.rows import EARLIEST, LATEST
from app.ledger.proof.shapes import INT64, LENGTH, Shape
from app.ledger.records import TransactionKind, TransactionStatus

_SALT_BYTES = 16
_CURRENCY_BYTES = 3
# Longer texts than the bank writes are not worth a form.
_TEXT_BYTES_MAX = 1_000
# With more than this in memory, they are forgotten, and made again. The bank writes a few for each length of a text.
_FORMS_KEPT_MAX = 5_000
_FORMS_ALIKE_MAX = 20
# Told from each other by the length of the word, as BSON writes it.
_KINDS = {bytes([len(kind) + 1]): kind for kind in (TransactionKind.TRANSFER, TransactionKind.FUNDING)}
# Characters of a text that its JSON has as they are.
_UNESCAPED = bytes(each for each in range(0x20, 0x7F) if each not in b'"\\')


class Completed(NamedTuple):
    """What is compared of a completed transfer or funding. The entries are as `plain.COMPARED` has them."""

    id: bytes
    user: bytes
    idempotency_key: bytes
    is_funding: bool
    payer: bytes
    payee: bytes
    currency: str
    entries: list[bytes]
    raw: bytes


class _Form(NamedTuple):
    """How records look whose texts, apart from the idempotency key, have the same lengths.

    Three formats: `said` of the JSON that the record's hash is computed from, with so many `quotes`, for which
    `chosen` takes what it needs; `debit` and `credit` of its entries.
    """

    shape: Shape
    digests: tuple[tuple[str, int], ...]
    is_funding: bool
    is_sealed: bool
    said: bytes
    quotes: int
    chosen: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    debit: bytes
    credit: bytes


# A record begins with these. Then comes the idempotency key. The two lengths are not compared, but used.
_HEAD = ["4x", *shapes.object_id("_id"), *shapes.object_id("user"), b"\x02idempotency_key\0", "4x"]
_KEY_AT = shapes.shape(_HEAD).size
_FINGERPRINT = b"\0\x03fingerprint\0"
_DIGESTS_AT = _KEY_AT + len(_FINGERPRINT)
_KIND_LENGTH_AT = len(b"\x02kind\0")
_forms: dict[tuple[int, int, bytes], list[_Form]] = {}


def read_completed(raw: bytes) -> Completed | None:
    """Return a completed transfer or funding without metadata, or None for any other record."""
    try:
        key_end = _KEY_AT + LENGTH.unpack_from(raw, _KEY_AT - LENGTH.size)[0] - 1
        # Keys have any length, so a record's form is that of the rest.
        rest = raw[:_KEY_AT] + raw[key_end:]
        (digests_size,) = LENGTH.unpack_from(rest, _DIGESTS_AT)
    except struct.error:
        # In another form there may be anything where the lengths should be.
        return None
    kind_length_at = _DIGESTS_AT + digests_size + _KIND_LENGTH_AT
    which = len(rest), digests_size, rest[kind_length_at : kind_length_at + 1]
    number = int.from_bytes(rest, "little")
    for form in _forms.get(which, ()):
        if number & form.shape.mask == form.shape.rest:
            return _read(form, raw, rest, raw[_KEY_AT:key_end])
    for form in _learn(which, rest):
        if number & form.shape.mask == form.shape.rest:
            return _read(form, raw, rest, raw[_KEY_AT:key_end])
    return None


def _read(form: _Form, raw: bytes, rest: bytes, key: bytes) -> Completed | None:
    (
        id_, user, *digests, payer, payee, first, second, amount, currency, created, salt, text, completed,
    ) = form.shape.values.unpack(rest)  # fmt: skip
    if first != payer or second != payee or not EARLIEST <= created <= LATEST >= completed >= EARLIEST:
        return None
    sealed = UNSEALED
    if form.is_sealed:
        ids = hexlify(id_), hexlify(user), hexlify(payer), hexlify(payee)
        numbers = amount, created, hexlify(salt)
        said = form.said % form.chosen((*ids, *numbers, key, text, currency, *digests))
        # If no text needs an escape, nothing is left of it but the quotes around the texts.
        if len(said.translate(None, _UNESCAPED)) != form.quotes:
            try:
                texts = [_escaped(each) for each in (key, text, currency, *digests)]
            except UnicodeDecodeError:
                return None
            said = form.said % form.chosen((*ids, *numbers, *texts))
        sealed = SEALED % hashlib.sha256(said).digest()
    elif not (key + text + currency).isascii():
        return None
    moved, at = INT64.pack(amount), INT64.pack(completed)
    return Completed(
        id_, user, key, form.is_funding, payer, payee, currency.decode(errors="replace"),
        [
            form.debit % (payer, moved, id_, payee, text, at, sealed),
            form.credit % (payee, moved, id_, payer, text, at, sealed),
        ],
        raw,
    )  # fmt: skip


def _escaped(text: bytes) -> bytes:
    """Return a text as the canonical JSON has it, between its quotes."""
    return json.dumps(text.decode())[1:-1].encode() if text.translate(None, _UNESCAPED) else text


def is_its_payers(completed: Completed, owners: Mapping[bytes, Owner]) -> bool:
    """Tell whether it was its payer's to make, and both accounts are in its currency. `owners` as in `plain`."""
    payer, payee = owners.get(completed.payer), owners.get(completed.payee)
    if payer is None or payee is None or not payer.currency == completed.currency == payee.currency:
        return False
    if completed.is_funding:
        return completed.payer == treasury_of(completed.currency)
    return payer.user == completed.user


def _learn(which: tuple[int, int, bytes], rest: bytes) -> list[_Form]:
    """Make the forms that such a record may have: with a salt or, as version 1 wrote them, without."""
    size, digests_size, kind_length = which
    kind = _KINDS.get(kind_length)
    if kind is None:
        return []
    try:
        fingerprint = bson.decode(rest[_DIGESTS_AT : _DIGESTS_AT + digests_size])
    except (InvalidBSON, TypeError, UnicodeDecodeError):
        # A forger may have written anything.
        return []
    if not fingerprint or not all(
        name.isascii() and name.isalnum() and isinstance(digest, str) for name, digest in fingerprint.items()
    ):
        return []
    lengths = {name: len(digest.encode()) for name, digest in fingerprint.items()}
    known = _forms.get(which, [])
    if len(known) > _FORMS_ALIKE_MAX or any(form.digests == tuple(lengths.items()) for form in known):
        return []
    made = []
    for is_salted in (True, False):
        without_text = size - _shape(lengths, kind, is_salted, None).size
        text_bytes = None if not without_text else size - _shape(lengths, kind, is_salted, 0).size
        if text_bytes is None or 0 <= text_bytes <= _TEXT_BYTES_MAX:
            made.append(_form(lengths, kind, is_salted, text_bytes))
    if len(_forms) >= _FORMS_KEPT_MAX:
        _forms.clear()
    _forms[which] = known + made
    return made


def _shape(lengths: Mapping[str, int], kind: TransactionKind, is_salted: bool, text_bytes: int | None) -> Shape:
    """Return the shape of a record without its idempotency key. What it lacks has no bytes."""
    digests = [part for name, length in lengths.items() for part in shapes.text(name, length)]
    digests_size = LENGTH.size + shapes.shape(digests).size + 1
    accounts = [*shapes.object_id("0"), *shapes.object_id("1"), b"\0"]
    accounts_size = LENGTH.size + shapes.shape(accounts).size
    return shapes.shape(
        [
            *_HEAD, _FINGERPRINT + LENGTH.pack(digests_size), *digests, b"\0", *shapes.constant("kind", kind),
            *shapes.object_id("from_account"), *shapes.object_id("to_account"),
            b"\x04accounts\0" + LENGTH.pack(accounts_size), *accounts,
            *shapes.int64("amount"), *shapes.text("currency", _CURRENCY_BYTES),
            *shapes.constant("status", TransactionStatus.COMPLETED), *shapes.time("created_at"),
            *(shapes.binary("salt", _SALT_BYTES) if is_salted else ["0s"]),
            *(["0s"] if text_bytes is None else shapes.text("description", text_bytes)),
            *shapes.time("completed_at"), b"\0",
        ]
    )  # fmt: skip


def _form(lengths: Mapping[str, int], kind: TransactionKind, is_salted: bool, text_bytes: int | None) -> _Form:
    names = tuple(lengths)
    in_order = sorted(names)
    # What `Transaction.record_hash` covers, with the places of the values in `_read`.
    digests = ",".join(f'"{name}":"%b"' for name in in_order)
    text = "null" if text_bytes is None else '"%b"'
    said = (
        f'["transaction","%b","%b","%b",{{{digests}}},"{kind}","%b","%b",%d,"%b",{text},null,%d,null,null,"%b"]'
    ).encode()
    digests_from = 10
    chosen = [0, 1, 7, *(digests_from + names.index(name) for name in in_order), 2, 3, 4, 9]
    chosen += [*([] if text_bytes is None else [8]), 5, 6]
    return _Form(
        _shape(lengths, kind, is_salted, text_bytes), tuple(lengths.items()), kind is TransactionKind.FUNDING,
        is_salted, said, said.count(b'"'), itemgetter(*chosen), _entry(DEBITED, is_salted, text_bytes),
        _entry(CREDITED, is_salted, text_bytes),
    )  # fmt: skip


def _entry(type_and_name: bytes, is_sealed: bool, text_bytes: int | None) -> bytes:
    """Return a format of an entry: of account, amount, transaction, counterparty, text, time and seal."""
    constants = [
        b"\x07account\0", type_and_name, b"\x07transaction\0", b"\x07counterparty\0",
        NO_TEXT if text_bytes is None else TEXT + LENGTH.pack(text_bytes + 1),
        (b"" if text_bytes is None else b"\0") + TIME, b"",
    ]  # fmt: skip
    values = [bytes(12), INT64.pack(0), bytes(12), bytes(12), bytes(text_bytes or 0), INT64.pack(0), SEALED % bytes(32)]
    values[-1] = values[-1] if is_sealed else UNSEALED
    size = LENGTH.size + sum(map(len, constants)) + sum(map(len, values))
    # A length may look like the sign of a format.
    return b"%b".join(part.replace(b"%", b"%%") for part in [LENGTH.pack(size) + constants[0], *constants[1:], b""])
