"""What a saver does to whole threads: delete them, copy them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from stepwell._context import current_task
from stepwell.checkpoint._lifecycle import Opening
from stepwell.checkpoint._looking import listing, runs
from stepwell.checkpoint._options import seconds
from stepwell.checkpoint._upkeep.copying import read_whole, write_copy
from stepwell.checkpoint.driver import LoadRequest
from stepwell.errors import StaleWriterError, UsageError

_DELETE_WAIT_S = 2.0
"""Longer than it takes to see that an owner's process has died."""


class Upkeep(Opening):
    """The part of a saver that deletes and copies threads."""

    async def adelete_thread(
        self, thread_id: Any, *, lock_timeout: float | timedelta | None = _DELETE_WAIT_S
    ) -> None:
        """Delete a thread with all it holds. If there is none, nothing happens.

        Args:
            lock_timeout: How long to wait for a run that holds it; None = no limit.

        Raises:
            ThreadBusyError: It is running.
            StaleWriterError: Another worker took it over meanwhile; it is still there.
            InvalidIdError: The id is none.
        """
        key = self.key(thread_id)
        timeout = None if lock_timeout is None else seconds("lock_timeout", lock_timeout, least=0)

        async def delete() -> None:
            journal = await self.journal()
            # Claiming would create the thread.
            if (await journal.load(LoadRequest(key, "", 0))).thread is None:
                return
            current = current_task.get()
            held = () if current is None else current.held
            handle = await journal.acquire(key, timeout=timeout, load_seq=0, held=held)
            try:
                if not await handle.delete():
                    raise StaleWriterError(
                        f"Thread {key.thread_id!r} was taken over while it was deleted.",
                        thread_id=key.thread_id,
                    )
            finally:
                await handle.release()

        await self.at_home(delete)

    def delete_thread(
        self, thread_id: Any, *, lock_timeout: float | timedelta | None = _DELETE_WAIT_S
    ) -> None:
        """Sync twin of `adelete_thread`."""
        self._now(
            lambda: self.adelete_thread(thread_id, lock_timeout=lock_timeout), "delete_thread"
        )

    async def acopy_thread(
        self,
        source_thread_id: Any,
        target_thread_id: Any,
        *,
        at: str | None = None,
        lock_timeout: float | timedelta | None = None,
    ) -> None:
        """Copy a thread: all namespaces, checkpoints, pending writes and runs.

        The copy can be resumed as the original could; checkpoints keep their ids, but were
        created when they were copied. The source is read without a lock.

        Args:
            source_thread_id: What is copied.
            target_thread_id: Its copy; there must be no such thread.
            at: A checkpoint id: copy the thread as it was when that was made.
            lock_timeout: How long to wait for the target; None = no limit.

        Raises:
            NotFoundError: There is no such source, or no such checkpoint.
            UsageError: The target exists.
            ThreadBusyError: The source is written all the time.
            InvalidIdError: An id is none.
        """
        source, target = self.key(source_thread_id), self.key(target_thread_id)
        timeout = None if lock_timeout is None else seconds("lock_timeout", lock_timeout, least=0)

        async def copy() -> None:
            journal = await self.journal()
            whole = await read_whole(journal, source)
            if at is not None:
                whole = whole.until(at)
            current = current_task.get()
            held = () if current is None else current.held
            handle = await journal.acquire(target, timeout=timeout, held=held)
            try:
                await write_copy(handle, whole)
            finally:
                await handle.release()

        await self.at_home(copy)

    def copy_thread(
        self,
        source_thread_id: Any,
        target_thread_id: Any,
        *,
        at: str | None = None,
        lock_timeout: float | timedelta | None = None,
    ) -> None:
        """Sync twin of `acopy_thread`."""
        self._now(
            lambda: self.acopy_thread(
                source_thread_id, target_thread_id, at=at, lock_timeout=lock_timeout
            ),
            "copy_thread",
        )

    async def adelete_for_runs(self, run_ids: Sequence[Any]) -> None:
        """Delete the threads that these runs have made.

        A thread goes when all of its runs are named. Looks through the runs of all threads of
        this scope.

        Args:
            run_ids: Names of runs, as `config["run_id"]` gave them; unknown ones are left out.

        Raises:
            UsageError: `run_ids` is a single text; or a thread has other runs too, whose
                checkpoints build on these. Nothing was deleted.
            ThreadBusyError: A thread is running.
        """
        wanted = {str(run_id) for run_id in listed(run_ids, "run_ids")}
        if not wanted:
            return

        async def find() -> tuple[set[str], set[str]]:
            named: set[str] = set()
            others: set[str] = set()
            found = runs.list_all_runs(
                self._reader, self._scope, status=None, after=None, limit=None
            )
            async for run in found:
                (named if run.run_id in wanted else others).add(run.thread_id)
            return named, named & others

        named, shared = await self.at_home(find)
        if shared:
            msg = (
                f"Thread {min(shared)!r} has runs that are not named, whose checkpoints build on "
                "those of the named ones: name them too, or delete the thread."
            )
            raise UsageError(msg)
        for thread_id in sorted(named):
            await self.adelete_thread(thread_id)

    def delete_for_runs(self, run_ids: Sequence[Any]) -> None:
        """Sync twin of `adelete_for_runs`."""
        self._now(lambda: self.adelete_for_runs(run_ids), "delete_for_runs")

    async def _reader(self) -> listing.Reader:
        return listing.Reader(await self.journal(), self.codec, self._clock)


def listed(given: Any, name: str = "thread_ids") -> list[Any]:
    """A list of ids that a caller gave.

    Raises:
        TypeError: It is a single text, or no collection. (As in LangGraph.)
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Collection):
        one = f": for one of them, {name}=[{given!r:.80}]" if isinstance(given, str) else ""
        raise TypeError(f"{name} must be a list of ids, not {given!r:.80}{one}.")
    return list(given)


__all__ = ["Upkeep", "listed"]
