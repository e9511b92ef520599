"""The ledger's proof: every entry and every transaction read again, and each fault named."""
