"""Texts to vectors: what a store asks of an embedding, and which texts it embeds."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from anyio import to_thread

EmbeddingsFunc = Callable[[Sequence[str]], list[list[float]]]
"""Makes one vector for each text."""

AEmbeddingsFunc = Callable[[Sequence[str]], Awaitable[list[list[float]]]]
"""The same, asynchronously."""


@runtime_checkable
class Embeddings(Protocol):
    """Makes vectors of texts. LangChain's embeddings are of this shape.

    A subclass has to define the first two methods; the asynchronous ones then run them in a
    worker thread.
    """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text that is stored."""
        ...

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text that is looked for."""
        ...

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents`, without blocking the loop."""
        return await to_thread.run_sync(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query`, without blocking the loop."""
        return await to_thread.run_sync(self.embed_query, text)


class EmbeddingsLambda(Embeddings):
    """Embeddings made of one function of a list of texts, sync or async.

    Raises:
        ValueError: The function is None; or it is async, and a sync method is called.
    """

    def __init__(self, func: EmbeddingsFunc | AEmbeddingsFunc) -> None:
        if func is None:
            raise ValueError("func must be provided: a function from texts to vectors.")
        self._func: Callable[[Sequence[str]], Any] = func
        self._is_async = _is_async(func)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if self._is_async:
            raise ValueError(
                "These embeddings are an async function: use the async methods of the store "
                "(aput, asearch), or give it a sync function."
            )
        vectors: list[list[float]] = self._func(texts)
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        if not self._is_async:
            return await super().aembed_documents(texts)
        vectors: list[list[float]] = await self._func(texts)
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        return (await self.aembed_documents([text]))[0]


class _Sync(Embeddings):
    """An object that has the synchronous methods only."""

    def __init__(self, embeddings: Any) -> None:
        self._embeddings = embeddings

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._embeddings.embed_documents(texts)
        return vectors

    def embed_query(self, text: str) -> list[float]:
        vector: list[float] = self._embeddings.embed_query(text)
        return vector


def ensure_embeddings(
    embed: Embeddings | EmbeddingsFunc | AEmbeddingsFunc | str | None,
) -> Embeddings:
    """`embed` as an object with the methods of `Embeddings`.

    Args:
        embed: Such an object; or a function of a list of texts, sync or async.

    Raises:
        ValueError: It is None, or the name of a model.
        TypeError: It is nothing of the kind.
    """
    if embed is None:
        raise ValueError("embed must be provided: a function from texts to vectors.")
    if isinstance(embed, str):
        raise ValueError(  # noqa: TRY004  # LangGraph's, where LangChain is not installed
            f"embed={embed!r} names a model, and Stepwell loads none. Pass a function from texts "
            "to vectors, or an object with embed_documents() and embed_query(); with LangChain "
            f"installed, langchain.embeddings.init_embeddings({embed!r}) makes one."
        )
    if isinstance(embed, Embeddings):
        return embed
    if callable(getattr(embed, "embed_documents", None)) and hasattr(embed, "embed_query"):
        return _Sync(embed)
    if not callable(embed):
        raise TypeError(
            "embed must be a function from texts to vectors, or an object with embed_documents() "
            f"and embed_query(), not {type(embed).__name__}."
        )
    return EmbeddingsLambda(embed)


def _is_async(func: Any) -> bool:
    call = getattr(func, "__call__", None)  # noqa: B004  # the bound method, not callability
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(call)


# -- paths


def tokenize_path(path: str) -> list[str]:
    """The steps of a path: names, "[0]", "[*]", "*", "{a,b.c}".

    A bracket that is not closed runs to the end.
    """
    steps: list[str] = []
    name = ""
    at = 0
    while at < len(path):
        sign = path[at]
        if sign in "[{":
            end = _closing(path, at)
            steps += [name] * bool(name)
            steps.append(path[at:end])
            name, at = "", end
            continue
        if sign == ".":
            steps += [name] * bool(name)
            name = ""
        else:
            name += sign
        at += 1
    return steps + [name] * bool(name)


def _closing(path: str, start: int) -> int:
    """Where the group that opens at `start` is over."""
    opening = path[start]
    closing = "]" if opening == "[" else "}"
    depth = 0
    for at in range(start, len(path)):
        depth += (path[at] == opening) - (path[at] == closing)
        if depth == 0:
            return at + 1
    return len(path)


def get_text_at_path(obj: Any, path: str | list[str]) -> list[str]:
    """The texts that a path leads to in a document; none if it leads nowhere.

    Numbers become their text, lists and dicts their JSON with sorted keys.

    Args:
        obj: The document.
        path: As text, or as `tokenize_path` gives it. "" and "$": the whole document.
    """
    if isinstance(obj, Mapping) and not isinstance(obj, dict):
        obj = dict(obj)
    if not path or path == "$":
        return [_json(obj)]
    return _texts(obj, tokenize_path(path) if isinstance(path, str) else path)


def _texts(obj: Any, steps: list[str]) -> list[str]:
    if not steps:
        return _text(obj)
    step, rest = steps[0], steps[1:]
    if step.startswith("[") and step.endswith("]"):
        return [text for item in _items(obj, step[1:-1]) for text in _texts(item, rest)]
    if step.startswith("{") and step.endswith("}"):
        return _several(obj, step[1:-1])  # what would follow it is not looked at
    if step == "*":
        inner = obj.values() if isinstance(obj, dict) else obj if isinstance(obj, list) else ()
        return [text for item in inner for text in _texts(item, rest)]
    return _texts(obj[step], rest) if isinstance(obj, dict) and step in obj else []


def _items(obj: Any, index: str) -> list[Any]:
    if not isinstance(obj, list):
        return []
    if index == "*":
        return obj
    try:
        place = int(index)
    except ValueError:
        return []
    return [obj[place]] if -len(obj) <= place < len(obj) else []


def _several(obj: Any, names: str) -> list[str]:
    found: list[str] = []
    if not isinstance(obj, dict):
        return found
    for name in names.split(","):
        steps = tokenize_path(name.strip())
        here: Any = obj if steps else None
        for step in steps:
            here = here.get(step) if isinstance(here, dict) else None
        found += _text(here)
    return found


def _text(obj: Any) -> list[str]:
    if isinstance(obj, str | int | float | bool):
        return [str(obj)]
    return [_json(obj)] if isinstance(obj, list | dict) else []


def _json(obj: Any) -> str:
    # What JSON has no word for is embedded as its text.
    return json.dumps(obj, sort_keys=True, ensure_ascii=False, default=str)


__all__ = ["AEmbeddingsFunc", "EmbeddingsFunc", "ensure_embeddings"]
