"""Caches: results of nodes and tasks that need not be computed again."""
