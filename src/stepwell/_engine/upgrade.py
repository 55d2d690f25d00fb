"""A state that was stored by an older version of its graph, as the graph of today reads it.

    folded records (old) --rename nodes--> channel values (old) --migrations--> values (today)
                                                                      |
    pending writes, each of the version it was written by --migrations+

Nothing is written for it: migrations are pure, so whoever opens the thread again before its next
checkpoint comes to the same state. That checkpoint records the difference beside its own, and
says which version the state is of from there on. Every pending write says for itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stepwell._codec import Codec
from stepwell._engine.pending import Pending
from stepwell._engine.program import Program
from stepwell._journal.load import Contribution, Folded
from stepwell._journal.renames import INNER, Renames
from stepwell._plan.migrations import Migrations, Values
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Write, handler_id, plan, task_id
from stepwell.channels.base import Op, OpKind
from stepwell.constants import TASKS
from stepwell.errors import GraphMismatchError
from stepwell.types import Overwrite, Send

if TYPE_CHECKING:
    from stepwell._engine.snapshot import View


class Upgrade:
    """What leads from a stored checkpoint to the state of today.

    Raises:
        GraphMismatchError: A migration failed, or returned a key that the graph does not have.
    """

    __slots__ = ("_chain", "_codec", "_old", "_spec", "_thread_id", "nodes", "ops", "version")

    def __init__(self, program: Program, folded: Folded, thread_id: str) -> None:
        self._chain: Migrations = program.migrations
        self._codec: Codec = program.codec
        self._spec = program.spec
        self._thread_id = thread_id
        self._old: Values = {}
        self.version = folded.state_version
        """The version that the checkpoint is of."""
        self.nodes = self._chain.nodes(self.version)
        """Nodes that have another name now, by the old one."""
        self.ops: dict[str, Op] = {}
        """What the migrations change, for the next checkpoint to record."""
        if self.nodes:
            folded.rename(self.nodes)

    def values(self, stored: Mapping[str, Any]) -> Values:
        """The stored forms of all channels, migrated."""
        inside = {k: v for k, v in stored.items() if not self._migrates(k)}
        self._old = {k: v for k, v in stored.items() if k not in inside}
        new = self._chain.values(self._old, self.version, thread_id=self._thread_id)
        known = self._spec.state_set - self._spec.untracked
        for key, value in new.items():
            if key not in known and key not in self._old:
                msg = (
                    f"A migration of thread {self._thread_id!r} returned the key {key!r}, which "
                    f"the state of graph {self._spec.name!r} does not have (or does not store)."
                )
                raise GraphMismatchError(msg, thread_id=self._thread_id)
            if key not in self._old or not self._same(key, self._old[key], value):
                self.ops[key] = Op(OpKind.SET, value)
        for key in self._old:
            if key not in new:
                self.ops[key] = Op(OpKind.CLEAR, None)
        return {**inside, **new}

    def _migrates(self, channel: str) -> bool:
        return channel in self._spec.state_set or not channel.startswith(INNER)

    def _same(self, key: str, a: Any, b: Any) -> bool:
        encode = self._codec.encode
        return encode(a, channel=key) == encode(b, channel=key)

    # -- what tasks of the open superstep left -----------------------------------------------

    def pending(self, pending: Pending, state: ThreadState, place: tuple[str, str, int]) -> None:
        """Migrate what tasks have written, and file it under their names of today.

        Args:
            pending: Changed in place.
            state: The migrated state, which the tasks are planned from.
            place: Checkpoint id, namespace and step that tasks are named after.
        """
        todays: set[bytes] = set()
        for name, writes in pending.outputs.items():
            written_by = pending.versions.get(name, 0)
            if written_by < self._chain.version:
                pending.outputs[name] = self.writes(writes, written_by)
            else:
                todays.add(name)
        if renamed := self.task_ids(state, place):
            pending.refile(renamed, stay=todays)
        pending.versions = dict.fromkeys(pending.outputs, self._chain.version)

    def task_ids(self, state: ThreadState, place: tuple[str, str, int]) -> dict[bytes, bytes]:
        """Ids that due tasks, and the handlers of their failures, had while their nodes had
        other names, and those they have now."""
        ids: dict[bytes, bytes] = {}
        for version in range(self.version, self._chain.version):
            former = {new: old for old, new in self._chain.nodes(version).items()}
            for task in plan(self._spec, state, inputs=False) if former else ():
                old = task_id(*place, former.get(task.name, task.name), task.index)
                new = task.id(*place)
                ids[old] = new
                if (handler := task.node.handler) is not None:
                    ids[handler_id(old, former.get(handler, handler))] = handler_id(new, handler)
        return {old: new for old, new in ids.items() if old != new}

    def writes(self, writes: Sequence[Write], version: int) -> list[Write]:
        """What a task of an older version wrote, as one of today would have.

        A write is migrated as if its value were the state's: the keys that change by it are
        what it writes.

        Raises:
            GraphMismatchError: A migration failed, or does not show what becomes of a write.
        """
        renames = Renames(self._chain.nodes(version))
        base = self._old
        if version > self.version:
            base = self._chain.values(base, self.version, upto=version, thread_id=self._thread_id)
        before = self._chain.values(base, version, thread_id=self._thread_id)
        found: list[Write] = []
        for channel, value in writes:
            if self._migrates(channel):
                found += self._state_write(channel, value, version, (base, before))
            else:
                found.append((renames.channel(channel), _steered(renames, channel, value)))
        return found

    def contribution(self, found: Contribution, version: int) -> None:
        """Show what a task of the past contributed under the names of today, as far as they
        are known: it is only looked at."""
        found.name = self._chain.nodes(version).get(found.name, found.name)
        if version < self._chain.version:
            with contextlib.suppress(GraphMismatchError):
                found.writes = self.writes(found.writes, version)

    def _state_write(
        self, key: str, value: Any, version: int, around: tuple[Values, Values]
    ) -> list[Write]:
        base, before = around
        bare = value.value if isinstance(value, Overwrite) else value
        after = self._chain.values({**base, key: bare}, version, thread_id=self._thread_id)
        changed = self._differing(after, before)
        if not changed and key in after:
            changed = [key]  # it writes what is there already
        elif not changed and key in base and self._same(key, base[key], bare):
            changed = self._depending(key, version, around)
        # Where nothing depends on the key it is gone, and what was written to it with it.
        known = self._spec.state_set
        return [
            (k, Overwrite(after[k]) if isinstance(value, Overwrite) else after[k])
            for k in changed
            if k in known
        ]

    def _differing(self, values: Values, others: Values) -> list[str]:
        return [k for k, v in values.items() if k not in others or not self._same(k, v, others[k])]

    def _depending(self, key: str, version: int, around: tuple[Values, Values]) -> list[str]:
        """The keys that a key has become, found by leaving it out."""
        base, before = around
        without = {k: v for k, v in base.items() if k != key}
        try:
            after = self._chain.values(without, version, thread_id=self._thread_id)
        except GraphMismatchError as exc:
            msg = (
                f"A task of thread {self._thread_id!r} has written {key!r} once more, and the "
                f"migrations from state version {version} do not show what becomes of that. "
                "Finish the open superstep with the graph that began it."
            )
            raise GraphMismatchError(msg, thread_id=self._thread_id) from exc
        return self._differing(before, after)


def _steered(renames: Renames, channel: str, value: Any) -> Any:
    """The value of a write that triggers nodes, with their names of today."""
    if channel == TASKS:
        if isinstance(value, list):
            return [_steered(renames, channel, item) for item in value]
        if isinstance(value, Send):
            return Send(renames.node(value.node), value.arg, timeout=value.timeout)
        return value
    return renames.value(channel, value)


class News(NamedTuple):
    """What the first record of a newer state version says beside its own."""

    version: int
    nodes: Mapping[str, str] = {}
    ops: Mapping[str, Op] = {}

    def told(self, ops: Mapping[str, Op]) -> dict[str, Any]:
        """Its part of the record's body; `ops` are what tasks have written beside it."""
        told: dict[str, Any] = {"v": self.version}
        if alone := [name for name in self.ops if name not in ops]:
            told["k"] = alone
        if self.nodes:
            told["r"] = dict(self.nodes)
        return told


def news_of(program: Program, view: View | None) -> News | None:
    """What the next record after a checkpoint has to say of its version; None: nothing."""
    if (0 if view is None else view.version) == program.state_version:
        return None
    upgrade = None if view is None else view.upgrade
    if upgrade is None:
        return News(program.state_version)
    return News(program.state_version, upgrade.nodes, upgrade.ops)


def upgrade_of(program: Program, folded: Folded, thread_id: str) -> Upgrade | None:
    """How to read a checkpoint; None: it is of today's version, or nothing is to be done.

    Raises:
        GraphMismatchError: It is of a newer version, or of one that no migration leads from.
    """
    chain = program.migrations
    if folded.state_version == chain.version:
        return None
    chain.check(folded.state_version, thread_id=thread_id)
    return Upgrade(program, folded, thread_id) if chain else None


__all__ = ["News", "Upgrade", "news_of", "upgrade_of"]
