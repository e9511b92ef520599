"""Administration: users, roles, accounts, the audit log, the trial balance."""
