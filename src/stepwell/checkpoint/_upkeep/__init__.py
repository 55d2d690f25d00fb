"""What is done to what is kept: copies, retention, archives, backups, checks, new keys."""
