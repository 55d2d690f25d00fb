"""Kills of a graph's process at every await, and what a second process makes of the rest."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from stepwell._ids import RANDOM_IDS
from stepwell._journal.journal import Journal
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import LoadRequest, ThreadStatus
from stepwell.constants import CONF
from stepwell.errors import UsageError
from stepwell.observe import Event as Observed
from stepwell.observe import TaskStarted
from stepwell.testing._case import Violation
from stepwell.testing._check import acheck_history
from stepwell.testing._contents import read_database
from stepwell.testing._effects import EffectLog
from stepwell.testing._process import Ending, Process
from stepwell.testing._recording import History, durability_of, told_durability

if TYPE_CHECKING:
    from stepwell.graph.state import CompiledStateGraph
    from stepwell.types import StateSnapshot

Config = Mapping[str, Any]
Same = Callable[[Any, Any], bool]

_NAME: Final = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
"""Names that are drawn: they differ from run to run, wherever they stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport:
    """What became of one kill.

    Attributes:
        k: The await at which the process was killed, counted from 1.
        killed: False: the run had fewer awaits, and came to its end.
        where: What was awaited there: a driver's verb, or a function and its line.
        durable_step: The superstep that was durable then; None: nothing was.
        given_again: Nothing of the input was durable, so the caller gave it again.
        over: The run's end was durable; only its caller had not heard.
        rework: Nodes whose tasks ran again.
        state: The state's values after the second process.
        expected: Those of a run that nobody killed.
        problems: What differs from that run.
        violations: Promises that were broken; see `check_history`.
    """

    k: int
    killed: bool
    where: str
    durable_step: int | None
    given_again: bool
    over: bool
    rework: tuple[str, ...]
    state: Any
    expected: Any
    problems: tuple[str, ...]
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Whether the thread recovered as it should."""
        return not self.problems and not self.violations

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, and `ok`."""
        return {**asdict(self), "ok": self.ok}


async def crash_at(
    graph: CompiledStateGraph,
    input: Any,
    config: Config,
    *,
    k: int,
    same: Same | None = None,
    **options: Any,
) -> CrashReport:
    """Kill a graph's process at its k-th await, let another one resume, and compare.

    The process that is killed is an event loop of its own in a thread of its own; nodes run
    there, on virtual time. It is abandoned at the await: nothing of it runs any more, no
    `finally` either (a synchronous node that has begun runs to its end). A second process with
    a new worker id then does what a caller would: it gives the input again if nothing of it
    was durable, resumes with None if the run was open, and nothing if it was over.

    Every run is on a thread of its own in the saver's database, `<thread_id>~crash-...`, which
    is deleted when all went well. If the thread of `config` exists, they begin as its copies.

    Args:
        graph: Compiled with a saver, of whatever kind. Nodes must not hold on to things that
            belong to another event loop.
        input: As of `ainvoke`.
        config: Names the thread.
        k: Counted from 1; awaits are those of the engine, the driver and the nodes.
        same: Compares the states; default: they are equal but for names that are drawn (UUIDs).
        options: Of `ainvoke`, for example `durability`.

    Raises:
        UsageError: The graph has no saver, the config no thread, or k is below 1.
    """
    if type(k) is not int or k < 1:
        raise UsageError(f"Awaits are counted from 1, so k cannot be {k!r}.")
    trials = await _Trials.begin(graph, input, config, same, options)
    return await trials.crash(k)


async def crash_everywhere(
    graph: CompiledStateGraph,
    input: Any,
    config: Config,
    *,
    every: int = 1,
    same: Same | None = None,
    **options: Any,
) -> list[CrashReport]:
    """`crash_at` for k = 1, 1 + `every`, ... until a run comes to its end unharmed.

    Returns:
        One report for each kill; all of them should be `ok`.

    Raises:
        UsageError: As of `crash_at`; or `every` is below 1.
    """
    if every < 1:
        raise UsageError(f"every= must be at least 1, not {every}.")
    trials = await _Trials.begin(graph, input, config, same, options)
    reports: list[CrashReport] = []
    k = 1
    while (report := await trials.crash(k)).killed:
        reports.append(report)
        k += every
    return reports


class _Trials:
    """One unharmed run, and as many killed ones as are asked for."""

    def __init__(
        self,
        graph: CompiledStateGraph,
        given: Any,
        config: Config,
        *,
        saver: Saver,
        journal: Journal,
        options: dict[str, Any],
    ) -> None:
        self.graph = graph
        self.given = given
        self.config = config
        self.saver = saver
        self.journal = journal
        self.options = options
        self.durability = options.get("durability") or durability_of(graph)
        self.thread_id = str(config[CONF]["thread_id"])
        self.copies = False
        self.same: Same = self._alike
        self.calm: StateSnapshot
        self.calm_end: Ending
        self._name = f"{self.thread_id}~crash-{RANDOM_IDS.run_id()[:8]}"

    @classmethod
    async def begin(
        cls,
        graph: CompiledStateGraph,
        given: Any,
        config: Config,
        same: Same | None,
        options: dict[str, Any],
    ) -> _Trials:
        """Run it once without a kill.

        Raises:
            UsageError: The graph has no saver, or the config no thread.
        """
        saver = graph.checkpointer
        if not isinstance(saver, Saver):
            raise UsageError("What survives a crash is in a database: compile it with a saver.")
        if (config.get(CONF) or {}).get("thread_id") is None:
            raise UsageError('The config names no thread: {"configurable": {"thread_id": "..."}}.')
        journal = await saver.at_home(saver.journal)
        trials = cls(graph, given, config, saver=saver, journal=journal, options=options)
        trials.same = same or trials._alike
        trials.copies = await saver.aget_thread(trials.thread_id) is not None
        place = await trials._place("calm")
        around = (0, set[bytes](), EffectLog(None), History(None))
        trials.calm_end = await trials._live(place, given, None, around)
        trials.calm = await graph.aget_state(place)
        await saver.adelete_thread(place[CONF]["thread_id"])
        return trials

    async def _place(self, what: str) -> dict[str, Any]:
        """The config of a new trial; its thread begins as a copy, if there is what to copy."""
        name = f"{self._name}-{what}"
        if self.copies:
            await self.saver.acopy_thread(self.thread_id, name)
        return {**self.config, CONF: {**self.config[CONF], "thread_id": name}}

    async def _live(
        self,
        place: Config,
        given: Any,
        kill_at: int | None,
        around: tuple[int, set[bytes], EffectLog, History],
    ) -> Ending:
        """One process that runs the graph. `around`: its seed, dead workers, logs."""
        seed, dead, effects, history = around

        def observe(event: Observed) -> None:
            if isinstance(event, TaskStarted) and event.thread_id is not None:
                effects.append(
                    event.thread_id, event.step, event.task_id,
                    process.driver.epochs.get(event.thread_id, 0), RANDOM_IDS.run_id(),
                    ns=event.ns, node=event.node,
                )  # fmt: skip

        def work(saver: Saver) -> Coroutine[Any, Any, Any]:
            twin = self.graph.copy(update={"checkpointer": saver})
            if self.durability == "sync":  # it waits for every superstep, so that all are told
                return history.arun(twin, given, place, **self.options)
            return self._unwatched(twin, given, place, history)

        process = Process(self.saver, self.journal, seed=seed, dead=dead, observer=observe)
        return await asyncio.to_thread(process.live, work, kill_at)

    async def _unwatched(
        self, graph: CompiledStateGraph, given: Any, place: Config, history: History
    ) -> None:
        """Run it without asking for each superstep, which would wait until that is durable."""
        durability = told_durability(graph, self.durability)
        operation = history.invoke("run", place[CONF]["thread_id"], durability=durability)
        try:
            await graph.ainvoke(given, place, **self.options)
        except Exception as error:
            operation.unknown(error)
            raise
        operation.ok()

    async def crash(self, k: int) -> CrashReport:
        """Kill at `k`, resume, compare."""
        place = await self._place(str(k))
        thread = place[CONF]["thread_id"]
        dead: set[bytes] = set()
        history, effects = History(None), EffectLog(None)
        began, _ = await self._records(thread)
        ending = await self._live(place, self.given, k, (2 * k, dead, effects, history))
        if not ending.killed:
            return await self._report(k, ending, place, (history, effects))
        count, status = await self._records(thread)
        fresh, over = count == began, count != began and status != ThreadStatus.RUNNING
        step = await self._note(history, thread)
        ran = {(e.ns, e.task) for e in effects.effects()}
        second = ending
        if not over:
            given = self.given if fresh else None
            second = await self._live(place, given, None, (2 * k + 1, dead, effects, history))
        later = [e for e in effects.effects() if e.epoch == second.epochs.get(thread) and not over]
        return await self._report(
            k, second, place, (history, effects), killed=True, where=ending.where,
            durable_step=step, given_again=fresh, over=over,
            rework=tuple(e.node or "" for e in later if (e.ns, e.task) in ran),
        )  # fmt: skip

    async def _records(self, thread: str) -> tuple[int, int]:
        """(how many records the thread has, its status)."""
        key = self.saver.key(thread)
        request = LoadRequest(key, "", 0, current=True)
        row = (await self.saver.at_home(lambda: self.journal.load(request))).thread
        return (0, ThreadStatus.IDLE) if row is None else (row.record_no, row.status)

    async def _note(self, history: History, thread: str) -> int | None:
        """Write down what was durable when the process died; the superstep that was."""
        found = await self.saver.at_home(lambda: read_database(self.saver, [thread]))
        there = found.threads.get(thread)
        head = None if there is None else there.head()
        if there is None or head is None:
            return None
        done = tuple(write.task for write in there.writes if write.slot == 0)
        looked = history.invoke("look", thread)
        looked.ok(checkpoint=head.checkpoint_id, step=head.step, done=done)
        return head.step

    async def _report(
        self,
        k: int,
        ending: Ending,
        place: Config,
        told: tuple[History, EffectLog],
        **fields: Any,
    ) -> CrashReport:
        shown = await self.graph.aget_state(place)
        history, effects = told
        violations = await acheck_history(history, self.saver, effects=effects, graph=self.graph)
        report = CrashReport(
            **{
                "k": k, "killed": False, "where": "", "durable_step": None, "given_again": False,
                "over": False, "rework": (), **fields,
            },
            state=shown.values,
            expected=self.calm.values,
            problems=tuple(self._differences(shown, ending, over=fields.get("over", False))),
            violations=tuple(violations),
        )  # fmt: skip
        if report.ok:
            await self.saver.adelete_thread(place[CONF]["thread_id"])
        return report

    def _differences(self, shown: StateSnapshot, ending: Ending, *, over: bool) -> list[str]:
        calm, found = self.calm, []
        if not self.same(shown.values, calm.values):
            found.append("the state is another one")
        if sorted(shown.next) != sorted(calm.next):
            found.append(f"next is {shown.next}, not {calm.next}")
        if not self._alike([i.value for i in shown.interrupts], [i.value for i in calm.interrupts]):
            found.append("other questions wait")
        if not over and type(ending.error) is not type(self.calm_end.error):
            found.append(f"it raised {ending.error!r}, not {self.calm_end.error!r}")
        return found

    def _alike(self, one: Any, other: Any) -> bool:
        """Equal, or equal once drawn names are replaced by the order in which they occur."""
        return bool(one == other) or self._plain(one) == self._plain(other)

    def _plain(self, value: Any) -> str:
        text = self.graph._program.codec.encode(value).data.decode()  # noqa: SLF001
        names: dict[str, str] = {}
        return _NAME.sub(lambda found: names.setdefault(found[0], f"<{len(names)}>"), text)


__all__ = ["CrashReport", "crash_at", "crash_everywhere"]
