"""Channels: the cells a graph's state is made of."""

from stepwell.channels.any_value import AnyValue
from stepwell.channels.base import BaseChannel
from stepwell.channels.binop import BinaryOperatorAggregate
from stepwell.channels.delta import DeltaChannel
from stepwell.channels.ephemeral_value import EphemeralValue
from stepwell.channels.last_value import LastValue, LastValueAfterFinish
from stepwell.channels.named_barrier_value import NamedBarrierValue, NamedBarrierValueAfterFinish
from stepwell.channels.topic import Topic
from stepwell.channels.untracked_value import UntrackedValue

__all__ = [
    "AnyValue", "BaseChannel", "BinaryOperatorAggregate", "DeltaChannel", "EphemeralValue",
    "LastValue", "LastValueAfterFinish", "NamedBarrierValue", "NamedBarrierValueAfterFinish",
    "Topic", "UntrackedValue",
]  # fmt: skip
