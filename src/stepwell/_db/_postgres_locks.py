"""Advisory locks: evidence that the owner of a thread lives.

Every claim names a random key that its process holds in one session of the server. When the
process dies, the session ends and the key is free at once. The session may also end while
the process is well; then the keys are taken again in a new one, or, if that does not succeed
at once, taken out of the rows: a row without a key says nothing about its owner, whose lease
then decides alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

from stepwell._db._postgres_errors import OUT_OF_SHARED_MEMORY
from stepwell._db._postgres_line import Line
from stepwell._db._postgres_source import graveyard
from stepwell._ids import Ids
from stepwell.errors import StorageError, StorageUnavailableError

_log = logging.getLogger("stepwell.lock")

KEYS_MAX: Final = 1000
_TRIES: Final = 3
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 0.25


class Rows(Protocol):
    """What the session needs done to thread rows, over another connection.

    Both lists run in parallel: a thread and the lock key its row must hold.
    """

    async def beat(self, threads: Sequence[UUID], keys: Sequence[int]) -> None:
        """Move the beat, so that nobody's suspicion is confirmed."""

    async def disarm(self, threads: Sequence[UUID], keys: Sequence[int]) -> None:
        """Take the keys out of the rows. Raises StorageUnavailableError if one could not be."""


class LockSession:
    """The advisory keys of one process, in one session that is watched."""

    def __init__(
        self, line: Line, sql: Mapping[str, str], rows: Rows, ids: Ids, *, keys_max: int = KEYS_MAX
    ) -> None:
        line.on_lost = self.lost
        self._line = line
        self._sql = sql
        self._rows = rows
        self._ids = ids
        self._keys_max = keys_max
        self._shared: int | None = None
        self._held: dict[int, dict[UUID, int]] = {}
        """The threads whose rows name a key, and the epochs of their claims."""
        self._session: int | None = None
        """Number of the line's session that the next two speak of."""
        self._pid: int | None = None
        self._locked: set[int] = set()
        self._lost_again = False
        self._repairing: asyncio.Task[None] | None = None
        self._closing = False
        self.pooled = False
        """A pooler hands out another session for each statement: locks mean nothing."""

    @property
    def held(self) -> int:
        """How many keys the process believes to hold."""
        return len(self._held)

    async def take(self, count: int) -> list[int | None]:
        """Lock `count` fresh keys; beyond the limit, all share one. None: no lock to be had."""
        if self.pooled or count == 0 or self._repairing is not None:
            return [None] * count
        room = max(0, min(count, self._keys_max - len(self._held)))
        fresh = [self._ids.lock_key() for _ in range(room)]
        wanted = list(fresh)
        if room < count and self._shared is None:
            wanted.append(self._ids.lock_key())
        got = await self._lock(wanted)
        if len(wanted) > room and wanted[-1] in got:
            if self._shared is None:
                self._shared = wanted[-1]
            else:
                # Another claim was faster: threads share one key, or its end would free many.
                self._held.pop(wanted[-1], None)
                await self._unlock(wanted[-1:])
        keys: list[int | None] = [key if key in got else None for key in fresh]
        return keys + [self._shared] * (count - room)

    async def _lock(self, keys: list[int]) -> frozenset[int]:
        if not keys:
            return frozenset()
        # Held from before the reply on: if the session ends now, they are taken again.
        self._held.update((key, {}) for key in keys)
        try:
            got = await self._ask("lock", keys)
        except StorageError as error:
            for key in keys:
                self._held.pop(key, None)
            if error.context.get("sqlstate") == OUT_OF_SHARED_MEMORY:
                # Every client needs the room.
                self._keys_max = len(self._held)
                _log.warning("the server's lock table is full; further claims rest on their lease")
            elif not isinstance(error, StorageUnavailableError):
                raise
            if "sqlstate" in error.context:
                # Keys locked before an error stay locked, if the session does.
                await self._unlock(keys)
            return frozenset()
        for key in set(keys) - got:
            self._held.pop(key, None)
        return got

    async def _ask(self, name: str, keys: Sequence[int]) -> frozenset[int]:
        if not keys:
            return frozenset()
        sql = self._sql[name]
        session, rows = await self._line.ask(sql, keys, doing=f"to {name} advisory keys")
        done = frozenset(row[0] for row in rows if row[1])
        if session != self._line.session:
            # It has ended since: its backend says nothing of the one in use now. Its keys are
            # taken again by the repair that its end has set off.
            return done
        pids = {row[2] for row in rows}
        if session != self._session:
            self._session, self._pid, self._locked = session, min(pids), set()
        if pids != {self._pid}:
            self._give_up()
            return frozenset()
        if name == "lock":
            self._locked |= done
        else:
            self._locked.difference_update(keys)
        return done

    async def _unlock(self, keys: Sequence[int]) -> None:
        if not keys or not self._line.connected:
            return
        try:
            await self._ask("unlock", keys)
        except StorageUnavailableError as error:
            # As a rule the session is gone, and the locks with it.
            _log.debug("keys could not be given back: %s", error)

    def _give_up(self) -> None:
        if self.pooled:
            return
        self.pooled = True
        _log.warning(
            "the lock session changed its backend: a transaction pooler stands between. Threads "
            "rest on their leases alone; open the saver with pgbouncer=True to say so."
        )
        self._repair(self._disarm_all())

    def bind(self, key: int, thread: UUID, epoch: int) -> bool:
        """The row of `thread` names `key` now. False: the key was lost in the meantime."""
        if key not in self._held:
            return False
        self._held[key][thread] = epoch
        return True

    async def give_back(self, claims: Iterable[tuple[int | None, UUID, int | None]]) -> None:
        """Unlock the keys of claims that ended (key, thread, epoch; None: refused). Idempotent.

        The shared key stays; a claim that ended long ago does not undo the binding of a newer
        one of the same thread to it.
        """
        done: list[int] = []
        for key, thread, epoch in claims:
            if key is None or key not in self._held:
                continue
            if key != self._shared:
                del self._held[key]
                done.append(key)
            elif epoch is not None and self._held[key].get(thread) == epoch:
                del self._held[key][thread]
        await self._unlock(done)

    def lost(self) -> None:
        """The session has ended (called by its line): get the keys back."""
        self._session = self._pid = None
        self._locked = set()
        self._lost_again = True
        if self._held and not self._closing and not self.pooled:
            self._repair(self._restore())

    def _repair(self, work: Coroutine[None, None, None]) -> None:
        if self._repairing is not None:
            work.close()
            return
        self._repairing = asyncio.get_running_loop().create_task(work)
        self._repairing.add_done_callback(self._repaired)

    def _repaired(self, task: asyncio.Task[None]) -> None:
        self._repairing = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            _log.error("the lock session could not be repaired", exc_info=error)
        elif self._held and not self._closing:
            if self.pooled:
                self._repair(self._disarm_all())
            elif self._lost_again:
                # It ended once more after the last look of the repair.
                self._repair(self._restore())

    async def _restore(self) -> None:
        """Re-lock all keys in one statement; what stays out of reach is taken out of the rows."""
        tries = 0
        while self._held and not self.pooled:
            tries += 1
            self._lost_again = False
            held = self._snapshot()
            try:
                # Locking twice would take unlocking twice: only what this session lacks.
                await self._ask("lock", self._lacking(held))
                ended = [key for key in held if key not in self._held and key in self._locked]
                await self._unlock(ended)
                await self._rows.beat(*_parallel(held))
                # All of them, if the session ended while the beats moved.
                lacking = self._lacking(held)
                if not lacking:
                    _log.info("the lock session was restored with %d keys", len(held))
                    return
                if tries > _TRIES:
                    # The server has not noticed yet that the old session ended.
                    await self._disarm({key: held[key] for key in lacking})
            except StorageError as error:
                _log.debug("the lock session is down (attempt %d): %s", tries, error)
                if tries >= _TRIES and await self._disarmed(held):
                    continue
            await asyncio.sleep(min(_PAUSE_S * tries, _PAUSE_MAX_S))

    def _snapshot(self) -> dict[int, dict[UUID, int]]:
        return {key: dict(threads) for key, threads in self._held.items()}

    def _lacking(self, keys: Iterable[int]) -> list[int]:
        """Those of the keys still held that the session in use has not locked."""
        whole = self._session is not None and self._session == self._line.session
        locked = self._locked if whole else frozenset()
        return [key for key in keys if key in self._held and key not in locked]

    async def _disarm_all(self) -> None:
        while self._held:
            if not await self._disarmed(self._snapshot()):
                await asyncio.sleep(_PAUSE_MAX_S)

    async def _disarmed(self, held: Mapping[int, Mapping[UUID, int]]) -> bool:
        try:
            await self._disarm(held)
        except StorageError as error:
            _log.debug("keys could not be taken out of their rows: %s", error)
            return False
        return True

    async def _disarm(self, held: Mapping[int, Mapping[UUID, int]]) -> None:
        await self._rows.disarm(*_parallel(held))
        for key, threads in held.items():
            now = self._held.get(key)
            if now is None or now.items() - threads.items():
                # Bound to another claim meanwhile, whose row names the key yet: not done with.
                continue
            del self._held[key]
            if key == self._shared:
                self._shared = None

    async def close(self) -> None:
        """Free every key by ending the session."""
        self._closing = True
        try:
            if self._repairing is not None:
                self._repairing.cancel()
                await asyncio.gather(self._repairing, return_exceptions=True)
            await self._line.close()
        finally:
            self._clear()

    def forget(self) -> None:
        """The session is another process's, or its loop is gone."""
        self._line.forget()
        if self._repairing is not None:
            graveyard.append(self._repairing)
        self._clear()

    def _clear(self) -> None:
        self._held.clear()
        self._shared = None
        self._session = self._pid = None
        self._locked = set()
        self._lost_again = False
        self._repairing = None
        self._closing = False


def _parallel(held: Mapping[int, Mapping[UUID, int]]) -> tuple[list[UUID], list[int]]:
    pairs = [(thread, key) for key, threads in held.items() for thread in threads]
    return [thread for thread, _ in pairs], [key for _, key in pairs]
