"""Where archives are kept: a folder, or a store of the package obstore (extra `[archive]`)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from stepwell.errors import NotFoundError, StorageError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_STORES: Final = (
    "AzureStore", "GCSStore", "HTTPStore", "LocalStore", "MemoryStore", "S3Store",
)  # fmt: skip


class Place(Protocol):
    """A flat collection of files."""

    async def put(self, name: str, data: bytes) -> None:
        """Write a file durably, in the place of one that is there."""

    async def get(self, name: str) -> bytes:
        """Read a file.

        Raises:
            NotFoundError: There is none.
        """

    async def names(self) -> list[str]:
        """The names of all files, sorted."""


class Folder:
    """A folder of this host; made when it is first written to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def put(self, name: str, data: bytes) -> None:
        """Write under another name, sync, rename."""
        await asyncio.to_thread(self._put, name, data)

    def _put(self, name: str, data: bytes) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            partial = self._path / f"{name}.part"
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path / name)
            folder = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StorageError(f"{self._path / name} cannot be written: {error}") from error

    async def get(self, name: str) -> bytes:
        """Read a file."""
        try:
            return await asyncio.to_thread((self._path / name).read_bytes)
        except FileNotFoundError:
            raise NotFoundError(f"There is no {name!r} in {self._path}.") from None
        except OSError as error:
            raise StorageError(f"{self._path / name} cannot be read: {error}") from error

    async def names(self) -> list[str]:
        """List the folder; one that is not there holds nothing."""
        try:
            found = await asyncio.to_thread(os.listdir, self._path)
        except FileNotFoundError:
            return []
        return sorted(found)


class ObjectStore:
    """A store of obstore: S3, Google Cloud Storage, Azure, a folder, memory."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def put(self, name: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        await self._told(obstore.put_async(self._store, name, data), name)

    async def get(self, name: str) -> bytes:
        """Get an object."""
        import obstore

        async def get() -> bytes:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async())

        found: bytes = await self._told(get(), name)
        return found

    async def names(self) -> list[str]:
        """List all objects."""
        import obstore

        async def walk() -> list[str]:
            return [item["path"] async for page in obstore.list(self._store) for item in page]

        return sorted(await self._told(walk(), "the listing"))

    async def _told(self, call: Any, name: str) -> Any:
        """Await a call of obstore; its errors come out as ours."""
        from obstore.exceptions import BaseError
        from obstore.exceptions import NotFoundError as Missing

        try:
            return await call
        except (Missing, FileNotFoundError) as error:
            raise NotFoundError(f"There is no {name!r} in {self._store!r}.") from error
        except BaseError as error:
            raise StorageError(f"{self._store!r}, {name}: {_brief(error)}") from error


def place_of_archives(target: Any) -> Place:
    """Where `target` says that archives are: a path, a URL, or a store.

    Raises:
        UsageError: It is none of them, or needs the extra.
    """
    is_url = isinstance(target, str) and "://" in target
    if target == "":
        raise UsageError("An empty text names no place for archives: give a folder or a URL.")
    if isinstance(target, str | os.PathLike) and not is_url:
        from pathlib import Path

        return Folder(Path(target))
    try:
        import obstore.store
    except ModuleNotFoundError as error:
        raise UsageError(
            "Archives in an object store need the package obstore: pip install 'stepwell[archive]'"
        ) from error
    if not is_url:
        if isinstance(target, tuple(getattr(obstore.store, name) for name in _STORES)):
            return ObjectStore(target)
        raise UsageError(
            f"Archives go to a folder, a URL or an obstore store, not to a {type(target).__name__}."
        )
    try:
        return ObjectStore(obstore.store.from_url(target))
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise UsageError(f"{target!r} names no object store: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    """What an error of obstore says, without the dump of its parts that follows."""
    return str(error).partition("\n\nDebug source:")[0]


__all__ = ["Place", "place_of_archives"]
