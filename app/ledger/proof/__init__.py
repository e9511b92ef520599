"""The ledger's proof: reads every entry and every transaction again and names each fault."""
