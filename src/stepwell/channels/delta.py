"""A channel whose reducer is given all writes of a superstep at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any

from stepwell.channels.base import MISSING, Edit, OneValue, Op, OpKind
from stepwell.channels.binop import bare_type, same_reducer, unwrap_overwrite
from stepwell.errors import (
    ErrorCode,
    InvalidUpdateError,
    create_error_message,
)


class DeltaChannel(OneValue[Any]):
    """Folds all writes of a superstep into the value: `value = reducer(value, writes)`.

    In LangGraph this channel stores writes instead of values, and its reducer is run again to
    read them. Every channel of Stepwell stores differences, and reading runs no reducer: so
    `snapshot_frequency` is checked and has no effect, and `checkpoint()` returns the value.

    Args:
        reducer: Takes the value and the list of writes, returns the new value.
        typ: The type of the value, whose empty instance is where it starts; in
            `Annotated[T, DeltaChannel(...)]` it is T.
        snapshot_frequency: A positive number, for LangGraph's sake.
        key: The channel's name.

    Raises:
        ValueError: `snapshot_frequency` is not positive.
    """

    __slots__ = ("_edit", "_prepare", "reducer", "snapshot_frequency")

    def __init__(
        self,
        reducer: Callable[[Any, Sequence[Any]], Any],
        typ: Any = None,
        *,
        snapshot_frequency: int = 100,
        key: str = "",
    ) -> None:
        if snapshot_frequency <= 0:
            msg = f"snapshot_frequency must be a positive int, got {snapshot_frequency}"
            raise ValueError(msg)
        super().__init__(list if typ is None else bare_type(typ), key)
        self.reducer = reducer
        self.snapshot_frequency = snapshot_frequency
        self.value: Any = MISSING
        self._edit: Edit | None = None
        self._prepare: Callable[[Any], Any] | None = getattr(reducer, "prepare", None)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DeltaChannel)
            and other.snapshot_frequency == self.snapshot_frequency
            and same_reducer(self.reducer, other.reducer)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def prepare(self) -> Callable[[Any], Any] | None:
        return self._prepare

    @prepare.setter
    def prepare(self, prepare: Callable[[Any], Any] | None) -> None:
        self._prepare = prepare

    def of_type(self, typ: Any) -> DeltaChannel:
        """An empty channel of the same kind whose value is of this type."""
        fresh = self.__class__(
            self.reducer, typ, snapshot_frequency=self.snapshot_frequency, key=self.key
        )
        fresh.prepare = self.prepare
        return fresh

    def preparing(self, prepare: Callable[[Any], Any]) -> DeltaChannel:
        """An empty channel of the same kind whose writes are prepared so, unless its reducer
        prepares them."""
        fresh = self.of_type(self.typ)
        fresh.prepare = self.prepare or prepare
        return fresh

    def copy(self) -> DeltaChannel:
        fresh = self.of_type(self.typ)
        fresh.value = self.value if self.value is MISSING else copy(self.value)
        return fresh

    def from_checkpoint(self, checkpoint: Any) -> DeltaChannel:
        fresh = self.of_type(self.typ)
        fresh.value = self.typ() if checkpoint is MISSING else checkpoint
        if (revive := getattr(self.reducer, "revive", None)) is not None:
            fresh.value = revive(fresh.value)
        return fresh

    def replay_writes(self, writes: Iterable[tuple[Any, Any, Any]]) -> None:
        """Fold (task id, channel, write) triples into the value; the last `Overwrite` among
        them is where the value starts again."""
        base = self.value
        left: list[Any] = []
        for _, _, write in writes:
            is_overwrite, replacement = unwrap_overwrite(write)
            if is_overwrite:
                base, left = self._replacement(replacement), []
            else:
                left.append(write)
        self.value = self.reducer(base, left) if left else base

    def _replacement(self, value: Any) -> Any:
        return self.typ() if value is None else copy(value)

    def update(self, values: Sequence[Any]) -> bool:
        if not values:
            return False
        self._edit = None
        overwrites = [r for is_overwrite, r in map(unwrap_overwrite, values) if is_overwrite]
        if len(overwrites) > 1:
            msg = create_error_message(
                message=(
                    f"At key '{self.key}': Can receive only one Overwrite value per super-step."
                ),
                error_code=ErrorCode.INVALID_CONCURRENT_GRAPH_UPDATE,
            )
            raise InvalidUpdateError(msg, channel=self.key)
        if overwrites:
            self.value = self._replacement(overwrites[0])
            return True
        base = self.typ() if self.value is MISSING else self.value
        fold = getattr(self.reducer, "fold_splices", None)
        if fold is None:
            self.value = self.reducer(base, list(values))
            return True
        self.value, splices = fold(base, list(values))
        if splices is not None and type(base) is list:
            self._edit = Edit(splices, base)
        return True

    def delta(self) -> Op:
        if self._edit is None:
            return Op(OpKind.SET, self.value)
        edit, self._edit = self._edit, None
        return edit.as_op()


__all__ = ["DeltaChannel"]
