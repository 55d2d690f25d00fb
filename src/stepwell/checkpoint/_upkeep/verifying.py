"""Checking a whole database, and mending what can be mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import field
from typing import Any, Final, Literal, TypeAlias

from stepwell._dataclass import dataclass
from stepwell._journal.checking import Finding, Stored, check_thread, mend
from stepwell._journal.copying import batches, thread_pages
from stepwell.checkpoint._results import VerifyProblem, VerifyReport
from stepwell.checkpoint._upkeep.backup import Backing
from stepwell.checkpoint._upkeep.rotating import Rotating, check_keys, unsealed
from stepwell.checkpoint._upkeep.threads import listed
from stepwell.checkpoint.driver import (
    UNENDED,
    BackupDriver,
    RowKind,
    Snapshot,
    ThreadKey,
    ThreadRow,
)
from stepwell.errors import ThreadBusyError, UsageError

Repair: TypeAlias = bool | Literal["heads"]
_PAGE: Final = 200


class Verifying(Rotating, Backing):
    """The part of a saver that checks what is stored."""

    async def averify(
        self,
        *,
        thread_ids: Sequence[Any] | None = None,
        deep: bool = True,
        repair: Repair = False,
    ) -> VerifyReport:
        """Check that what is stored is whole: a file system check for threads.

        Checksums of all records, chains without gaps, heads, runs, records that belong to
        nothing; `deep`: also every state is folded, and segments are compared with their rows.
        One state of the database is looked at, threads may be running meanwhile. Neither graphs
        nor their classes are needed.

        Args:
            thread_ids: Which; None: all, of all scopes (on a view: of its scope).
            deep: Also fold. Without it only what one look at each record tells.
            repair: True: delete what belongs to nothing, and fold damaged segments anew from
                their rows. "heads": also take threads whose newest checkpoint cannot be read
                back to the newest that can; what is behind it is deleted. What cannot be mended
                is named: restore it from a backup.

        Raises:
            UsageError: An argument is none that it can be.
            KeyMissingError: Records are encrypted with a key that this saver does not have.
            StorageError: The database did not answer.
        """
        if repair not in (True, False, "heads"):
            raise UsageError(f"repair must be True, False or 'heads', not {repair!r:.80}.")
        if not isinstance(deep, bool):
            raise UsageError(f"deep must be True or False, not {deep!r:.80}.")
        named = None if thread_ids is None else [self.key(i) for i in listed(thread_ids)]

        async def verify() -> VerifyReport:
            driver = unsealed((await self.journal()).driver)
            tally = _Tally()
            async with (
                driver.snapshot() as snapshot,
                aclosing(self._groups(snapshot, named)) as groups,
            ):
                async for group in groups:
                    await tally.look(snapshot, group, deep=deep)
            busy: list[str] = []
            for key, findings in list(tally.found.items()) if repair else ():
                if any(_may_be_mended(finding, repair) for finding in findings):
                    tally.found[key] = await self._mend(driver, key, busy, repair)
            problems = [
                _problem(key, finding, repaired=repaired)
                for key, found in tally.found.items()
                for finding, repaired in found.items()
            ]
            if named is None and not self._is_view:
                problems += await _strays(driver, remove=bool(repair))
            return VerifyReport(
                threads=tally.threads,
                checkpoints=tally.rows[RowKind.CHECKPOINTS],
                segments=tally.rows[RowKind.SEGMENTS],
                writes=tally.rows[RowKind.WRITES],
                problems=tuple(problems),
                busy=tuple(busy),
            )

        return await self.at_home(verify)

    def verify(
        self,
        *,
        thread_ids: Sequence[Any] | None = None,
        deep: bool = True,
        repair: Repair = False,
    ) -> VerifyReport:
        """Sync twin of `averify`."""
        return self._now(
            lambda: self.averify(thread_ids=thread_ids, deep=deep, repair=repair), "verify"
        )

    async def _groups(
        self, snapshot: Snapshot, named: Sequence[ThreadKey] | None
    ) -> AsyncGenerator[list[ThreadRow], None]:
        if named is not None:
            for first in range(0, len(named), _PAGE):
                found = await snapshot.named(named[first : first + _PAGE])
                for group in batches([row for row in found if row is not None]):
                    yield group
            return
        scope = self._scope if self._is_view else None
        async with aclosing(thread_pages(snapshot, scope)) as pages:
            async for page in pages:
                for group in batches(page):
                    yield group

    async def _mend(
        self, driver: BackupDriver, key: ThreadKey, busy: list[str], repair: Repair
    ) -> dict[Finding, bool]:
        """Check a thread again under a claim, mend it, and say what is mended."""
        journal = await self.journal()
        try:
            handle = await journal.acquire(key, wait=False, load_seq=0)
        except ThreadBusyError:
            busy.append(key.thread_id)
            async with driver.snapshot() as snapshot:
                now = await _read(snapshot, key)
            return {} if now is None else dict.fromkeys(check_thread(now).findings, False)
        try:
            async with driver.snapshot() as snapshot:
                stored = await _read(snapshot, key)
            if stored is None:
                return {}
            checked = await asyncio.to_thread(check_thread, stored)
            part = mend(stored, checked, heads=repair == "heads")
            if part is not None:
                await driver.restore([part])
            async with driver.snapshot() as snapshot:
                after = await _read(snapshot, key)
        finally:
            await handle.release()
        left = set() if after is None else set(check_thread(after).findings)
        return {finding: finding not in left for finding in checked.findings}


@dataclass(slots=True)
class _Tally:
    """What was looked at, and found (False: not mended)."""

    threads: int = 0
    rows: dict[RowKind, int] = field(default_factory=lambda: dict.fromkeys(RowKind, 0))
    found: dict[ThreadKey, dict[Finding, bool]] = field(default_factory=dict)

    async def look(self, snapshot: Snapshot, group: Sequence[ThreadRow], *, deep: bool) -> None:
        """Check some threads."""
        keys = [row.key for row in group]
        kinds = {kind: await snapshot.rows(kind, keys) for kind in RowKind}
        whole = [
            Stored.of(row, {kind: rows[i] for kind, rows in kinds.items()})
            for i, row in enumerate(group)
        ]
        for kind, rows in kinds.items():
            check_keys(row for some in rows for row in some)
            self.rows[kind] += sum(map(len, rows))
        self.threads += len(group)
        # Folding takes its time; the loop goes on meanwhile.
        checked = await asyncio.to_thread(
            lambda: [check_thread(stored, deep=deep).findings for stored in whole]
        )
        for stored, findings in zip(whole, checked, strict=True):
            if stored.thread.layout_no == UNENDED:
                findings = [_UNENDED, *findings]  # noqa: PLW2901
            if findings:
                self.found[stored.thread.key] = dict.fromkeys(findings, False)


_UNENDED: Final = Finding("unended", "", None, "A copy of this thread was cut off.")


async def _read(snapshot: Snapshot, key: ThreadKey) -> Stored | None:
    [row] = await snapshot.named([key])
    if row is None:
        return None
    return Stored.of(row, {kind: (await snapshot.rows(kind, [key]))[0] for kind in RowKind})


def _may_be_mended(finding: Finding, repair: Repair) -> bool:
    return finding.mendable or repair == "heads"


def _problem(key: ThreadKey, finding: Finding, *, repaired: bool) -> VerifyProblem:
    return VerifyProblem(
        kind=finding.kind,
        thread_id=key.thread_id,
        scope=key.scope,
        checkpoint_ns=finding.ns,
        seq=finding.seq,
        message=finding.message,
        repaired=repaired,
    )


async def _strays(driver: BackupDriver, *, remove: bool) -> list[VerifyProblem]:
    found = await driver.strays(remove=remove)
    return [
        VerifyProblem(
            kind="orphan",
            thread_id=None,
            scope="",
            checkpoint_ns="",
            seq=None,
            message=f"{count} {kind} belong to no thread.",
            repaired=remove,
        )
        for kind, count in found.items()
    ]


__all__ = ["Verifying"]
