"""Run one task to its writes, trying again where its policy says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from stepwell._context import current_task
from stepwell._engine.messages import emit_writes, surround
from stepwell._engine.task import TaskRun
from stepwell._engine.timed import timed
from stepwell.errors import NodeCancelledError
from stepwell.types import RetryPolicy, TimeoutPolicy

if TYPE_CHECKING:
    from stepwell._plan.tasks import Write

logger = logging.getLogger("stepwell")


class NodePolicy:
    """How a node's attempts are made."""

    __slots__ = ("retry", "timeout")

    def __init__(
        self, retry: Sequence[RetryPolicy] = (), timeout: TimeoutPolicy | None = None
    ) -> None:
        self.retry = tuple(retry)
        self.timeout = timeout


NO_POLICY = NodePolicy()
"""For a `Send` with a timeout to a node without a policy."""


def matching(policies: Sequence[RetryPolicy], error: Exception) -> RetryPolicy | None:
    """The first policy that covers the error.

    Raises:
        TypeError: A `retry_on` is nothing that can be asked.
    """
    for policy in policies:
        rule = policy.retry_on
        if isinstance(rule, type):
            if isinstance(error, rule):
                return policy
        elif isinstance(rule, Sequence):
            if isinstance(error, tuple(rule)):
                return policy
        elif not callable(rule):
            msg = (
                "retry_on must be an Exception class, a list or tuple of Exception classes, or a "
                f"callable, not {rule!r}"
            )
            raise TypeError(msg)
        elif rule(error):
            return policy
    return None


def delay_s(policy: RetryPolicy, attempt: int, jitter_s: float) -> float:
    """Seconds to wait after the failure of `attempt` (1-based)."""
    interval = min(
        policy.max_interval, policy.initial_interval * policy.backoff_factor ** (attempt - 1)
    )
    return interval + (jitter_s if policy.jitter else 0.0)


async def once(task: TaskRun) -> list[Write]:
    """One attempt: call the node and turn what it returned into writes."""
    node, heard = task.task.node, task.run.surrounds
    token = current_task.set(task)
    try:
        if heard:
            surround(task)
        output = await node.body.call(task.task.input, task)
        writer = node.writer
        writes: list[Write]
        if writer.branches:
            writes = await writer.run(output, task)
        else:
            writes = writer.own_writes(output)
            if task.sent:
                writes = [*task.sent, *writes]
        if heard:
            emit_writes(task, writes)
        return writes
    finally:
        current_task.reset(token)
        task.over = True
        if task.inner:
            await stop_inner(task.inner)


async def stop_inner(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Stop the graphs that an attempt began and nobody waits for, as `asyncio.gather` leaves
    them when another one fails: a task has one execution at a time."""
    here = asyncio.current_task()
    left = [each for each in tasks if each is not here]
    for each in left:
        each.cancel()
    if left:
        await asyncio.wait(left)


async def attempts(task: TaskRun) -> list[Write]:
    """Attempts until one succeeds or the policy is used up.

    Raises:
        Exception: What the last attempt raised.
        NodeCancelledError: The node raised CancelledError on its own account.
    """
    policy: NodePolicy = task.task.node.policy or NO_POLICY
    limit = task.task.timeout or policy.timeout
    run = task.run
    task.first_attempt_at = run.clock.wall()
    while True:
        try:
            return await (timed(task, limit, once) if limit is not None else once(task))
        except asyncio.CancelledError as exc:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            raise NodeCancelledError(task.name) from exc
        except Exception as exc:
            rule = matching(policy.retry, exc)
            if rule is None or task.attempt >= rule.max_attempts:
                raise
            pause = delay_s(rule, task.attempt, run.ids.uniform(0.0, 1.0))
            logger.info(
                "Retrying task %s after %.2f s (attempt %d) after %s",
                task.name, pause, task.attempt, type(exc).__name__,
            )  # fmt: skip
            await asyncio.sleep(pause)
            if run.rec is not None:
                await run.rec.sure()
            task.again()


__all__ = ["NodePolicy", "attempts", "delay_s", "matching", "once", "stop_inner"]
