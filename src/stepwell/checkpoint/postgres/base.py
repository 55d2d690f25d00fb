"""LangGraph's home of the class that both PostgreSQL savers derive from."""

from stepwell.checkpoint.postgres._saver import BasePostgresSaver

__all__ = ["BasePostgresSaver"]
