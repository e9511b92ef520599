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
    at = datetime.fromisoformat(entry["createdAt"])
    canonical = struct.pack(
        ">12sQ8sqqq12sq8s",
        bytes.fromhex(entry["accountId"]),
        entry["sequence"],
        entry["type"].encode(),
        entry["amount"],
        entry["balanceAfter"],
        entry["balanceAfter"] - entry["availableAfter"],
        bytes.fromhex(entry["transactionId"]),
        int(at.timestamp()) * 1_000 + at.microsecond // 1_000,
        b"",
    )
    return hashlib.sha256(bytes.fromhex(entry["previousHash"]) + canonical).hexdigest()


if __name__ == "__main__":
    receipt_file, jwks_file = sys.argv[1:]
    said = verified(Path(receipt_file).read_text().strip(), Path(jwks_file).read_text())
    print(json.dumps(said, indent=2, ensure_ascii=False))
