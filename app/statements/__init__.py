"""An account's journal: its entries, its balance over time, and statements as JSON, CSV and PDF."""
