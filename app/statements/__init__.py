"""What the ledger says of an account: its entries, and statements as JSON, CSV and PDF."""
