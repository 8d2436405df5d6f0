"""What the clinic keeps: its database, photographs, accounts, audit trail and backups."""
