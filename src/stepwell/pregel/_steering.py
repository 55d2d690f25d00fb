"""Stopping runs from outside, waiting for them, and taking a thread back to an earlier state."""

from __future__ import annotations

from collections.abc import Callable

from stepwell._engine.arguments import ArgumentError, refuse
from stepwell.checkpoint._results import RunInfo
from stepwell.config import RunnableConfig
from stepwell.pregel._base import Compiled
from stepwell.pregel._configs import Config
from stepwell.types import StateSnapshot


class SteeringVerbs(Compiled):
    """`acancel`, `await_run`, `arollback`, and their sync twins."""

    async def acancel(
        self, config: Config, *, reason: str = "cancelled", timeout: float | None = None
    ) -> bool:
        """Stop the run that has a thread at its next barrier, from any process.

        What it has finished stays, and None resumes it. Its caller gets `RunPreemptedError`
        (policy "cancel"). The run of a worker that is gone is closed where it stands.

        Args:
            config: Names the thread.
            reason: Told to the run's caller.
            timeout: Seconds to wait until it has stopped; None = no limit. The run is asked to
                stop all the same.

        Returns:
            True: it has stopped, or ended by itself meanwhile. False: there was none, or it
            has not stopped in time.

        Raises:
            ThreadBusyError: The caller is a part of that run.
        """
        from stepwell._engine.cancel import cancel

        saver, settings = self._saver("acancel"), self._settings(config)
        program = self._program
        return await saver.at_home(
            lambda: cancel(program, saver, settings, reason=reason, timeout=timeout)
        )

    async def await_run(
        self, config: Config, *, run_id: str | None = None, timeout: float | None = None
    ) -> RunInfo:
        """Wait for a run that another task or process drives.

        The run of a worker that is gone is waited for too: somebody may go on with it.

        Args:
            config: Names the thread.
            run_id: None: the run that has the thread now, else its newest.
            timeout: Seconds; None = no limit.

        Returns:
            The run, when it does not run any more.

        Raises:
            NotFoundError: There is no such thread, or it has no such run.
            ThreadBusyError: It still ran when the time was up, or the caller is a part of it.
        """
        from stepwell._engine.cancel import await_run

        saver, settings = self._saver("await_run"), self._settings(config)
        name = None if run_id is None else str(run_id)
        return await saver.at_home(lambda: await_run(saver, settings, run_id=name, timeout=timeout))

    async def arollback(
        self,
        config: Config,
        *,
        where: Callable[[StateSnapshot], bool],
        lock_timeout: float | None = None,
    ) -> RunnableConfig:
        """Go back to the newest state of a thread that `where` is true of.

        It becomes the head by a new checkpoint beside what came after it (source "fork"), all
        of which stays in the history. Nothing is appended if it is the head already.

        Args:
            config: Names the thread.
            where: Asked of states, newest first, over all branches, on the event loop.
            lock_timeout: Seconds to wait for a busy thread.

        Returns:
            The config of the head.

        Raises:
            NotFoundError: `where` is true of no state.
            ThreadBusyError: A run holds the thread.
        """
        from stepwell._engine.rollback import roll_back_to

        saver, settings = self._saver("arollback"), self._settings(config)
        program = self._program
        if settings.checkpoint_ns:
            msg = "arollback goes back with a whole thread: leave `checkpoint_ns` out."
            raise ArgumentError(msg)
        if not callable(where):
            raise refuse("where", where, "a function of a StateSnapshot")
        limit = program.lock_timeout if lock_timeout is None else lock_timeout
        return await saver.at_home(
            lambda: roll_back_to(program, saver, settings, where=where, lock_timeout=limit)
        )

    def cancel(
        self, config: Config, *, reason: str = "cancelled", timeout: float | None = None
    ) -> bool:
        """Sync twin of `acancel`."""
        return self._sync("cancel", lambda: self.acancel(config, reason=reason, timeout=timeout))

    def wait_run(
        self, config: Config, *, run_id: str | None = None, timeout: float | None = None
    ) -> RunInfo:
        """Sync twin of `await_run`."""
        return self._sync(
            "wait_run", lambda: self.await_run(config, run_id=run_id, timeout=timeout)
        )

    def rollback(
        self,
        config: Config,
        *,
        where: Callable[[StateSnapshot], bool],
        lock_timeout: float | None = None,
    ) -> RunnableConfig:
        """Sync twin of `arollback`."""
        return self._sync(
            "rollback", lambda: self.arollback(config, where=where, lock_timeout=lock_timeout)
        )


__all__ = ["SteeringVerbs"]
