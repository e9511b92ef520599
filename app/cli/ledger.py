"""The operator's commands for the ledger: `flask --app wsgi ledger …`."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import click
import jwt
import orjson
from bson import ObjectId
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flask import current_app

from app.account_numbers import AccountNumber
from app.cli.terminal import AccountType, IdType, OperatorGroup, account_id
from app.ledger.proof import anchor, signatures
from app.ledger.proof import verify as proof
from app.ledger.proof.faults import Report
from app.transactions import receipts, service
from app.transactions.schemas import TransactionSchema

VERIFY_EXIT_CODES = (
    "Exit codes: 0 the ledger is sound; 1 there are faults; 2 wrong usage; "
    "3 not done, so it is not known whether there are faults: the settings, the database or the output failed."
)

group = OperatorGroup("ledger", help="Verify the ledger, anchor it, and sign receipts.")


@group.command("verify", epilog=VERIFY_EXIT_CODES)
@click.option("--account", metavar="ACCOUNT", type=AccountType(), help="Check only this account and its transactions.")
@click.option("--anchor", "anchored", type=click.File("r"), help="Also compare with a file that `ledger anchor` wrote.")
@click.option("--keys", type=click.File("r"), help="A copy of /.well-known/jwks.json that you kept, for the anchor.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
def verify(
    account: ObjectId | AccountNumber | None, anchored: TextIO | None, keys: TextIO | None, as_json: bool
) -> None:
    """Check the whole ledger and list its faults.

    The command reads every entry and every transaction once and changes nothing. It may
    run while the bank is working.
    """
    begun = time.perf_counter()
    report = _verified(None if account is None else account_id(account))
    if anchored is not None:
        _compare(anchored, _kept_keys(keys), report)
    seconds = time.perf_counter() - begun
    if as_json:
        click.echo(orjson.dumps(_as_json(report, seconds), option=orjson.OPT_INDENT_2))
    else:
        print_report(report, seconds)
    sys.exit(0 if report.is_sound else 1)


@group.command("anchor")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def write_anchor(file: Path) -> None:
    """Write a signed FILE with the ledger's counts and newest entries, for `verify --anchor`.

    Keep the file where nobody who can write to the database can change it.
    """
    lines = anchor.draw(_signing_key())
    try:
        with file.open("x") as written:
            accounts = sum(1 for line in lines if written.write(f"{line}\n")) - 1
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}.") from None
    click.echo(f"Anchored the heads of {accounts:,} accounts in {file}.")


@group.command("receipt")
@click.argument("transaction", metavar="ID", type=IdType())
@click.option(
    "--account", metavar="ACCOUNT", type=AccountType(), help="Only this account's entries, as its owner may see them."
)
def receipt(transaction: ObjectId, account: ObjectId | AccountNumber | None) -> None:
    """Print a signed receipt of a transaction.

    Without --account it shows both sides. Such a receipt is for the bank's own use only.
    """
    key = _signing_key()
    found: Any
    found, entries = service.get_side(transaction, account_id(account)) if account else service.get_sides(transaction)
    shown = TransactionSchema(exclude=["idempotency_key"]).dump(found)
    click.echo(receipts.sign(transaction, shown, entries, key))


def _signing_key() -> Ed25519PrivateKey:
    key: Ed25519PrivateKey | None = current_app.config["RECEIPT_KEY"]
    if key is None:
        raise click.ClickException("There is no key to sign with: set RECEIPT_KEY.")
    return key


def _kept_keys(file: TextIO | None) -> dict[str, Ed25519PublicKey]:
    """Return the keys, by their ids, that the operator knows to be the bank's."""
    key: Ed25519PrivateKey | None = current_app.config["RECEIPT_KEY"]
    kept = {} if key is None else {signatures.key_id(key.public_key()): key.public_key()}
    return kept if file is None else kept | _read_keys(file)


def _read_keys(file: TextIO) -> dict[str, Ed25519PublicKey]:
    try:
        found = jwt.PyJWKSet.from_json(file.read()).keys
    except (jwt.PyJWTError, ValueError) as error:
        raise click.BadParameter(f"This is not a list of keys. {error}", param_hint="--keys") from None
    return {key.key_id: key.key for key in found if key.key_id and isinstance(key.key, Ed25519PublicKey)}


def _compare(anchored: TextIO, kept: Mapping[str, Ed25519PublicKey], report: Report) -> None:
    """Add a fault to the report for each difference from an anchor."""

    def key_of(key_id: str) -> Ed25519PublicKey | None:
        if key_id in kept:
            return kept[key_id]
        earlier = {jwk["kid"]: jwk for jwk in signatures.public_keys(None)}
        if key_id not in earlier:
            return None
        click.echo(
            f"Attention: an earlier key, {key_id}, signed this anchor. Only the database says that it was the bank's. "
            "Give your copy of /.well-known/jwks.json with --keys to be sure.",
            err=True,
        )
        public: Ed25519PublicKey = jwt.PyJWK(earlier[key_id]).key
        return public

    try:
        for fault in anchor.compare(anchored, key_of):
            report.add(fault)
    except (anchor.NotAnAnchor, UnicodeDecodeError) as error:
        raise click.BadParameter(f"This is not an anchor of this bank. {error}", param_hint="--anchor") from None


def _verified(account: ObjectId | None) -> Report:
    if account is None:
        with click.progressbar(length=proof.estimated_size(), label="Verifying", file=sys.stderr) as bar:
            return proof.verify(bar.update)
    report = proof.verify_account(account)
    if report is None:
        raise click.BadParameter(f"There is no account {account}.", param_hint="--account")
    return report


def _as_json(report: Report, seconds: float) -> dict[str, object]:
    return {
        "sound": report.is_sound,
        "entries": report.entries,
        "accounts": report.accounts,
        "transactions": report.transactions,
        "seconds": round(seconds, 3),
        "faults": [fault.as_json() for fault in report.faults],
        "unnamedFaults": report.unnamed_faults,
    }


def print_report(report: Report, seconds: float) -> None:
    """Print the faults, a line for each, and a summary."""
    for fault in report.faults:
        click.echo(str(fault))
    click.echo(_summary(report, seconds))


def _summary(report: Report, seconds: float) -> str:
    count = len(report.faults) + report.unnamed_faults
    verdict = "The ledger is sound." if report.is_sound else f"{count} fault{'s' if count > 1 else ''}."
    if report.unnamed_faults:
        verdict += f" The first {len(report.faults)} are named above."
    return (
        f"{verdict} Read {report.entries:,} entries of {report.accounts:,} accounts "
        f"and {report.transactions:,} transactions in {seconds:.1f} s."
    )
