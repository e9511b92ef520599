"""Check a receipt of Fincore without asking the bank: pip install pyjwt cryptography

    python verify_receipt.py RECEIPT_FILE JWKS_FILE

The second file is a copy of the bank's /.well-known/jwks.json, which everybody can keep.
"""

import hashlib
import json
import struct
import sys
from datetime import datetime
from pathlib import Path

import jwt


def verified(receipt: str, jwks: str) -> dict:
    """Return what the receipt says; raises jwt.InvalidTokenError or ValueError unless the bank said so."""
    keys = jwt.PyJWKSet.from_json(jwks)
    key = keys[jwt.get_unverified_header(receipt)["kid"]]
    claims = jwt.decode(receipt, key, algorithms=["EdDSA"], issuer="fincore")
    for entry in claims["entries"]:
        if sealed(entry) != entry["hash"]:
            raise ValueError(f"Entry {entry['sequence']} is not what its hash seals.")
    return claims


def sealed(entry: dict) -> str:
    """Return the hash of an entry: SHA-256 of the one before and of what the entry says (see ledger.md)."""
    canonical = canonical_2(entry) if entry.get("hashVersion") == 2 else canonical_1(entry)
    return hashlib.sha256(bytes.fromhex(entry["previousHash"]) + canonical).hexdigest()


def canonical_1(entry: dict) -> bytes:
    status = entry["description"] if entry["type"] == "STATUS" else ""
    return struct.pack(">12sQ8sqqq12sq8s", *money(entry), id_bytes(entry["transactionId"]), at(entry), status.encode())


def canonical_2(entry: dict) -> bytes:
    text = entry["description"]
    ids = id_bytes(entry["transactionId"]), id_bytes(entry["counterparty"])
    record = bytes.fromhex(entry["recordHash"])
    sealed = struct.pack(">B12sQ8sqqq12s12sq32s?", 2, *money(entry), *ids, at(entry), record, text is not None)
    return sealed + (text or "").encode()


def money(entry: dict) -> tuple:
    balance, held = entry["balanceAfter"], entry["balanceAfter"] - entry["availableAfter"]
    account = id_bytes(entry["accountId"])
    return account, entry["sequence"], entry["type"].encode(), entry["amount"], balance, held


def id_bytes(id_: str | None) -> bytes:
    return bytes.fromhex(id_) if id_ else bytes(12)


def at(entry: dict) -> int:
    time = datetime.fromisoformat(entry["createdAt"])
    return int(time.timestamp()) * 1_000 + time.microsecond // 1_000


if __name__ == "__main__":
    receipt_file, jwks_file = sys.argv[1:]
    said = verified(Path(receipt_file).read_text().strip(), Path(jwks_file).read_text())
    print(json.dumps(said, indent=2, ensure_ascii=False))
