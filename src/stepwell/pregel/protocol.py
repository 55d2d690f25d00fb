"""LangGraph's name of what every graph can do."""

from stepwell.pregel.main import Pregel

PregelProtocol = Pregel

__all__ = ["PregelProtocol"]
