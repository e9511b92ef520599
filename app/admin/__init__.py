"""What administrators see and do: users, roles, accounts, the audit log, the trial balance."""
