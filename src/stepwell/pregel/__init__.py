"""What every compiled graph is, however it was described."""

from stepwell.pregel.main import Pregel

__all__ = ["Pregel"]
