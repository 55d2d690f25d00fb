"""Messages of conversations: what counts as one, how lists of them are merged."""
