"""A store in a database: how it is opened, shared between loops and threads, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

from stepwell._clock import Clock
from stepwell._codec import Codec
from stepwell._ids import RANDOM_IDS
from stepwell._journal.options import JournalOptions, Surroundings
from stepwell._journal.outage import persist
from stepwell._portal import run_sync
from stepwell.errors import StorageError, UsageError
from stepwell.observe import Observers
from stepwell.store._embedding import NO_VECTORS, TextIndex, Vectors, queries_of
from stepwell.store._prepare import Prepared, Put, prepare
from stepwell.store._rows import Batch, Items, Migrate, key_of, upsert_of
from stepwell.store._sweeping import Sweeper
from stepwell.store.base import (
    NOT_PROVIDED,
    BaseStore,
    IndexConfig,
    Item,
    NamespacePath,
    NotProvided,
    Op,
    PutOp,
    Result,
    SearchItem,
    TTLConfig,
)
from stepwell.store.base._gathering import Gathering
from stepwell.store.base._names import check_labels
from stepwell.store.base._store import Index, _listing_op

T = TypeVar("T")


class StoreHome(Protocol):
    """The event loop a store lives on, and its tables there."""

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, if there is one."""

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` on that loop."""

    async def opened(self) -> Items:
        """The tables, opened; to be called there."""

    async def migrate(self) -> None:
        """Open, and create or upgrade the tables."""

    def reopen(self) -> None:
        """Allow use again after `close`."""

    async def close(self) -> None:
        """Let go."""


class DatabaseStore(BaseStore):
    """Base of stores in a database. Usable directly (it opens at first use), in `with`, and
    in `async with`. It belongs to the event loop that uses it first; calls from other loops and
    threads are forwarded there. What is asked for in one tick of that loop becomes one batch,
    and while that is under way the next one forms.

    Args:
        home: Where its tables are.
        index: How documents are embedded.
        ttl: How items expire.
        codec: For values.
        clock: The only source of time.
        outage_budget_s: How long a call waits for a database that does not answer.
    """

    supports_ttl = True

    def __init__(
        self,
        home: StoreHome,
        *,
        index: IndexConfig | None,
        ttl: TTLConfig | None,
        codec: Codec,
        clock: Clock,
        outage_budget_s: float | None,
    ) -> None:
        super().__init__()
        self.ttl_config = ttl
        self._home = home
        self._index = None if index is None else TextIndex(index)
        self.index_config = None if index is None else index.copy()
        """How documents are embedded, as it was given."""
        self.embeddings = None if self._index is None else self._index.embeddings
        """What embeds them."""
        self._codec = codec
        self._gathering: Gathering[Prepared] | None = None
        options = JournalOptions()
        if outage_budget_s is not None:
            options = JournalOptions(outage_budget_s=outage_budget_s)
        self._around = Surroundings(
            driver=cast("Any", None),  # whoever waits for a database does not ask it anything
            options=options,
            clock=clock,
            ids=RANDOM_IDS,
            observers=Observers(),
            worker=b"",
        )
        self._sweeper = Sweeper(self)

    # -- batches

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several operations: what reads first, then, in one transaction, what writes.

        Raises:
            InvalidNamespaceError: One names a namespace that there cannot be.
            UnsupportedTypeError: Something in a value cannot be stored. Nothing was done.
            StorageUnavailableError: The database did not answer in time.
        """
        prepared = prepare(ops, self._codec)
        return await self._home.call(lambda: self._run(prepared)) if prepared else []

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Sync twin of `abatch`."""
        given = list(ops)
        return self._now(lambda: self.abatch(given), "batch")

    async def _submit(self, op: Op) -> Any:
        [prepared] = prepare([op], self._codec)

        async def submit() -> Any:
            await self._home.opened()  # makes this loop home, and says if the store is closed
            gathering = self._gathering
            if gathering is None or gathering.loop is not asyncio.get_running_loop():
                gathering = self._gathering = Gathering(self._run, apart=_may_be_one)
            return await gathering.submit(prepared)

        return await self._home.call(submit)

    async def _run(self, ops: list[Prepared]) -> list[Any]:
        vectors = await self._embed(ops) if self._index is not None else NO_VECTORS
        batch = self._batch_of(ops, vectors)

        async def run() -> list[Any]:
            return await (await self._home.opened()).run(batch)

        return await persist(self._around, "store", run)

    async def _embed(self, ops: list[Prepared]) -> Vectors:
        index = self._index
        if index is None:
            return NO_VECTORS
        texts: dict[str, None] = {}
        for op in ops:
            if isinstance(op, Put) and op.document is not None and op.value is not None:
                if not op.document.texts:
                    op.document.texts.update(index.texts(op.value, op.index))
                texts.update(dict.fromkeys(op.document.texts.values()))
        return await index.aembed(texts, queries_of(ops))

    def _batch_of(self, ops: list[Prepared], vectors: Vectors) -> Batch:
        puts: dict[tuple[tuple[str, ...], str], Put] = {}
        reads = []
        for place, op in enumerate(ops):
            if isinstance(op, Put):
                puts.pop((op.namespace, op.key), None)
                puts[op.namespace, op.key] = op
            else:
                reads.append((place, op))
        dims = None if self._index is None else self._index.dims
        return Batch(
            reads,
            [upsert_of(put, vectors, dims) for put in puts.values() if put.document is not None],
            [key_of(put.namespace, put.key) for put in puts.values() if put.document is None],
            len(ops),
            vectors,
        )

    # -- one operation each

    async def aget(
        self, namespace: tuple[str, ...], key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        return cast("Item | None", await self._submit(self._get_op(namespace, key, refresh_ttl)))

    def get(
        self, namespace: tuple[str, ...], key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        op = self._get_op(namespace, key, refresh_ttl)
        return cast("Item | None", self._now(lambda: self._submit(op), "get"))

    async def asearch(
        self,
        namespace_prefix: tuple[str, ...],
        /,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        op = self._search_op(namespace_prefix, query, filter, limit, offset, refresh_ttl)
        return cast("list[SearchItem]", await self._submit(op))

    def search(
        self,
        namespace_prefix: tuple[str, ...],
        /,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        op = self._search_op(namespace_prefix, query, filter, limit, offset, refresh_ttl)
        return cast("list[SearchItem]", self._now(lambda: self._submit(op), "search"))

    async def aput(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Index = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        await self._submit(self._put_op(namespace, key, value, index, ttl))

    def put(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Index = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        op = self._put_op(namespace, key, value, index, ttl)
        self._now(lambda: self._submit(op), "put")

    async def adelete(self, namespace: tuple[str, ...], key: str) -> None:
        check_labels(namespace)
        await self._submit(PutOp(namespace, str(key), None))

    def delete(self, namespace: tuple[str, ...], key: str) -> None:
        check_labels(namespace)
        self._now(lambda: self._submit(PutOp(namespace, str(key), None)), "delete")

    async def alist_namespaces(
        self,
        *,
        prefix: NamespacePath | None = None,
        suffix: NamespacePath | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        op = _listing_op(prefix, suffix, max_depth, limit, offset)
        return cast("list[tuple[str, ...]]", await self._submit(op))

    def list_namespaces(
        self,
        *,
        prefix: NamespacePath | None = None,
        suffix: NamespacePath | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        op = _listing_op(prefix, suffix, max_depth, limit, offset)
        found = self._now(lambda: self._submit(op), "list_namespaces")
        return cast("list[tuple[str, ...]]", found)

    def _now(self, call: Callable[[], Awaitable[T]], name: str, instead: str | None = None) -> T:
        """Run `call` on the home loop from a thread that waits for it."""
        return run_sync(call, loop=self._home.loop(), name=name, instead=instead)

    # -- expiry

    async def asweep_ttl(self) -> int:
        """Delete the items that have expired.

        Returns:
            How many that were.
        """

        async def sweep() -> int:
            async def run() -> int:
                return await (await self._home.opened()).sweep()

            return await persist(self._around, "sweep", run)

        return await self._home.call(sweep)

    async def astart_ttl_sweeper(
        self, sweep_interval_minutes: float | None = None
    ) -> asyncio.Task[None]:
        """Delete expired items again and again, in the background; until it is stopped, the
        store is closed, or the task that is given back is cancelled.

        Args:
            sweep_interval_minutes: Default: the configured one, else 5.

        Returns:
            A task on the loop that runs here; one that is already over, if the store was
            opened without `ttl`.
        """
        return self._sweeper.start_here(self.ttl_config, sweep_interval_minutes)

    async def astop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """End what `astart_ttl_sweeper` began. `timeout` in seconds; None: no limit.

        Returns:
            Whether it has ended, or never ran.
        """
        return await asyncio.to_thread(self._sweeper.stop, timeout)

    # -- opening and closing

    async def asetup(self) -> None:
        """Open, and create or upgrade the tables. Needed only with `migrate="check"` or "off".

        Raises:
            StorageError: The database cannot be opened, or has newer tables.
        """
        await self._home.call(self._home.migrate)

    async def aclose(self) -> None:
        """Wait for what is under way, stop the sweeper, give back connections. Idempotent.

        Of a store that shares a saver's connections, the saver stays open.
        """
        self._sweeper.stop(0.0)
        gathering = self._gathering
        if gathering is not None and gathering.loop is self._home.loop():
            await self._home.call(gathering.idle)
        await self._home.close()

    def close(self) -> None:
        """Sync twin of `aclose`."""
        self._now(self.aclose, "close")

    async def _open(self) -> None:
        self._home.reopen()
        await self._home.call(self._home.opened)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        self._now(self._open, "__enter__", "async with")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._now(self.aclose, "__exit__", "async with")


def _may_be_one(error: Exception) -> bool:
    """Whether it may be one operation's fault that the batch failed."""
    if isinstance(error, StorageError):
        return not error.retryable
    return not isinstance(error, UsageError)


class SharedHome:
    """The tables of a store in the database of a saver that is opened and closed by others.

    Args:
        saver: Whose connections are used.
        make: Makes the tables' code for the driver of the open saver, or gives back the code
            it made before; None: this driver is for another database.
        migrate: What is done about the tables when they are first used.
    """

    def __init__(
        self, saver: Any, make: Callable[[Any, Items | None], Items | None], migrate: Migrate
    ) -> None:
        self._saver = saver
        self._make = make
        self._migrate: Migrate = migrate
        self._items: Items | None = None

    def loop(self) -> asyncio.AbstractEventLoop | None:
        loop: asyncio.AbstractEventLoop | None = self._saver.home()
        return loop

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        result: T = await self._saver.at_home(call)
        return result

    async def opened(self) -> Items:
        driver = (await self._saver.journal()).driver
        items = self._make(driver, self._items)
        if items is None:
            raise UsageError(
                f"{type(self._saver).__name__} has no database that this store could share."
            )
        if items is not self._items:
            await items.migrate(self._migrate)
            self._items = items
        return items

    async def migrate(self) -> None:
        await (await self.opened()).migrate("auto")

    def reopen(self) -> None:
        """It is the saver that is open or closed."""

    async def close(self) -> None:
        """The connections are the saver's."""
        self._items = None
