"""What tasks of an unfinished superstep leave behind, as records."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stepwell._codec import Codec, Encoded
from stepwell._codec.large import NEVER_LARGE, is_large
from stepwell._engine.pending import NULL_TASK, dump_interrupts
from stepwell._journal.record import (
    FORMAT_JSON,
    SLOT_ERROR,
    SLOT_HANDLED,
    SLOT_INTERRUPT,
    SLOT_OUTPUT,
    SLOT_PASSED,
    SLOT_RESUME,
    BodyEncoder,
)
from stepwell._journal.unusual import usual
from stepwell._plan.tasks import Write
from stepwell._portal.threads import in_thread
from stepwell.checkpoint.driver import WriteRow
from stepwell.errors import CodecError, UnsupportedTypeError
from stepwell.types import Interrupt

if TYPE_CHECKING:
    from stepwell._journal.handle import ThreadHandle
    from stepwell._journal.slices import Ticket


_MANY_WRITES: Final = 1000
"""From here on the loop goes on while they are encoded, whatever they are."""


class TaskRecords:
    """The part of a recorder that files results, questions, answers and failures of tasks under
    the checkpoint that they were planned at."""

    __slots__ = (
        "_codec", "_encoder", "_last", "_ns_name", "_ns_number", "handle", "seq",
    )  # fmt: skip

    handle: ThreadHandle
    seq: int
    _codec: Codec
    _encoder: BodyEncoder
    _last: Ticket | None
    _ns_name: str
    _ns_number: int

    @property
    def _ns(self) -> int:
        # A namespace gets its number when something is written to it.
        if self._ns_number < 0:
            self._ns_number = self.handle.namespace(self._ns_name)
        return self._ns_number

    def encode(self, writes: Sequence[Write]) -> list[Encoded | None]:
        """Encode a finished task's writes, so that what it left is fixed now.

        Raises:
            UnsupportedTypeError: A value cannot be stored.
        """
        return self._encoder.writes(writes)

    def take_long(self, writes: Sequence[Write]) -> bool:
        """Whether writes are so large, or so many, that a worker thread should encode them."""
        if len(writes) >= _MANY_WRITES:
            return self._encoder.in_threads
        for _, value in writes:
            if type(value) not in NEVER_LARGE and is_large(value):
                return self._encoder.in_threads
        return False

    async def encode_aside(self, writes: Sequence[Write]) -> list[Encoded | None] | None:
        """Encode large writes in a worker thread, so that the loop goes on. None: this failed,
        and it is for `encode` to say why it cannot be done."""
        # A dict that changes meanwhile makes whoever goes through it raise RuntimeError.
        with suppress(CodecError, RuntimeError):
            return await in_thread(partial(self._encoder.writes, writes, sliced=True))
        return None

    def finished(
        self, task_id: bytes, path: str, writes: Sequence[Write], encoded: Sequence[Encoded | None]
    ) -> None:
        """A task finished while others of its superstep still run."""
        self._write(task_id, SLOT_OUTPUT, path, None, self._encoder.writes_body(writes, encoded))

    def row_of(
        self, task_id: bytes, path: str, writes: Sequence[Write], encoded: Sequence[Encoded | None]
    ) -> WriteRow:
        """The row that `finished` would write."""
        body = self._encoder.writes_body(writes, encoded)
        return WriteRow(
            0, self.seq, task_id, SLOT_OUTPUT, path, None, self.handle.epoch, 0, FORMAT_JSON,
            zlib.crc32(body), body,
        )  # fmt: skip

    def write_again(self, row: WriteRow) -> None:
        """Write a row that was made by `row_of`, or found when the thread was loaded."""
        if row.format != FORMAT_JSON or row.key_id is not None:
            row = usual(row)
        self._write(row.task_id, row.idx, row.task_path, row.channel, row.body)

    def failed(self, task_id: bytes, path: str, error: str) -> None:
        """A task failed; `error` is the repr of its exception."""
        self._control(task_id, SLOT_ERROR, path, "__error__", error)

    def handled(self, task_id: bytes, path: str, error: BaseException | str) -> None:
        """A task's error handler takes over; `error` is its exception, or the repr of one whose
        class cannot be stored. Once this is durable the node does not run again."""
        self._control(task_id, SLOT_HANDLED, path, "__error_source_node__", error)

    def storable(self, error: BaseException) -> BaseException | None:
        """The exception itself if the codec can store it, else None."""
        try:
            self._codec.encode(error)
        except UnsupportedTypeError:
            return None
        return error

    def asked(
        self, task_id: bytes, path: str, interrupts: Sequence[Interrupt], *, node: str
    ) -> None:
        """A task of `node` asked a question that has no answer yet."""
        asked = dump_interrupts(interrupts)
        self._control(task_id, SLOT_INTERRUPT, path, "__interrupt__", asked, node=node)

    def try_question(self, interrupts: Sequence[Interrupt], *, node: str) -> None:
        """See whether a question could be stored, where that is done at the end of the run.

        Raises:
            CodecError: It cannot.
        """
        asked = dump_interrupts(interrupts)
        self._encoder.value_body(asked, channel="__interrupt__", node=node)

    def try_answer(self, answer: Any) -> None:
        """See whether an answer could be stored, before anybody is given it.

        Raises:
            CodecError: It cannot.
        """
        self._encoder.value_body([answer], channel="__resume__")

    def answered(self, task_id: bytes, path: str, answers: Sequence[Any], *, node: str) -> None:
        """The answers a task of `node` has been given so far."""
        self._control(task_id, SLOT_RESUME, path, "__resume__", list(answers), node=node)

    def command(self, writes: Sequence[Write], answer: Sequence[Any] | None) -> None:
        """What a caller's command writes before the next superstep.

        `answer`: the value for whichever task asks next; [] takes back one that was taken or
        has expired; None leaves that slot alone.
        """
        if writes:
            body = self._encoder.writes_body(writes, self._encoder.writes(writes))
            self._write(NULL_TASK, SLOT_OUTPUT, "", None, body)
        if answer is not None:
            self._control(NULL_TASK, SLOT_RESUME, "", "__resume__", list(answer))

    def passed(self) -> None:
        """The run was resumed from a breakpoint: whoever takes it over may pass it too."""
        self._control(NULL_TASK, SLOT_PASSED, "", "__breakpoint__", value=True)

    def _control(
        self,
        task_id: bytes,
        slot: int,
        path: str,
        channel: str,
        value: Any,
        *,
        node: str | None = None,
    ) -> None:
        body = self._encoder.value_body(value, channel=channel, node=node)
        self._write(task_id, slot, path, channel, body)

    def _write(
        self, task_id: bytes, slot: int, path: str, channel: str | None, body: bytes
    ) -> None:
        self._last = self.handle.append_write(
            self._ns,
            self.seq,
            task_id=task_id,
            idx=slot,
            task_path=path,
            channel=channel,
            format=FORMAT_JSON,
            crc=zlib.crc32(body),
            body=body,
        )


__all__ = ["TaskRecords"]
