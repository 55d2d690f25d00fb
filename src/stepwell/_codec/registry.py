"""Which classes may be stored: an allow-list, filled by code, never by what is read.

A document names a class only by its type id, a plain string that is looked up here. No
module is imported and no attribute is fetched because of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar, overload
from weakref import WeakSet

from stepwell import errors, types
from stepwell._codec import kinds, records
from stepwell._codec.entry import CLASS_MARK, Entry
from stepwell._codec.late import builtin_of_class
from stepwell._codec.refusal import Refusal
from stepwell._messages.langchain import class_under, type_id_of
from stepwell._messages.shape import RemoveMessage

T = TypeVar("T")
Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]

_RESERVED = "stepwell:"


_ROOT: Registry | None = None


class Registry:
    """Classes and their type ids. Lookups that miss go on to `parent`, then to the hosts.

    A registry without a parent knows the types of Stepwell itself and the built-in
    exceptions, besides what is registered in it. Its hosts are the registries of graphs that
    its graph has run inside: their states come to it as input, whatever its own schema names.
    """

    def __init__(self, parent: Registry | None = None) -> None:
        self._parent = _ROOT if parent is None else parent
        self._by_class: dict[type, Entry] = {}
        self._by_id: dict[str, Entry] = {}
        self._hosts: WeakSet[Registry] = WeakSet()

    def by_class(self, cls: type) -> Entry | None:
        """The entry of exactly this class; a registered base does not count."""
        entry = self._by_class.get(cls)
        if entry is None and self._parent is not None:
            entry = self._parent.by_class(cls)
        if entry is None and self._hosts:
            found = next(filter(None, (host.registered(cls) for host in self._hosts)), None)
            # Where its id names another class here, it would come back as that one.
            if found is not None and self.by_id(found.key.removeprefix(CLASS_MARK)) is found:
                return found
        return entry

    def by_id(self, type_id: str) -> Entry | None:
        """The entry that reads what was written under this type id or alias."""
        entry = self._by_id.get(type_id)
        if entry is None and self._parent is not None:
            entry = self._parent.by_id(type_id)
        if entry is None and self._hosts:
            return next(filter(None, (host.registered(type_id) for host in self._hosts)), None)
        return entry

    def registered(self, name: type | str) -> Entry | None:
        """The entry of a class or type id that was registered in this very registry."""
        return self._by_id.get(name) if isinstance(name, str) else self._by_class.get(name)

    def inside(self, host: Registry) -> None:
        """Know what `host` knows, and its hosts, where nothing is known here; as long as they
        live. A second call costs next to nothing."""
        new = {host, *host._hosts} - {self}
        if not new.issubset(self._hosts):
            self._hosts = WeakSet({*self._hosts, *new})  # somebody may be looking through the old

    def register(
        self,
        cls: type,
        type_id: str | None = None,
        aliases: Collection[str] = (),
        encode: Encode | None = None,
        decode: Decode | None = None,
    ) -> None:
        """Allow instances of exactly `cls` to be stored and revived.

        Enums, exceptions, dataclasses, NamedTuples, attrs classes, pydantic models and
        subclasses of one built-in type need nothing else. Any other class needs `encode`
        (instance to a supported value) and `decode` (its inverse). Registering again under
        the same id replaces the hooks and adds aliases.

        Args:
            cls: The class; its subclasses are not covered.
            type_id: Name in stored documents, kept for good; default `module:qualname`.
            aliases: Former ids: they are read, never written.
            encode: Called when an instance is written.
            decode: Called when one is read.

        Raises:
            UsageError: An id is taken by another class, `cls` is no class or of a kind that
                needs hooks, or only one hook is given.
        """
        if not isinstance(cls, type):
            raise errors.UsageError(f"register() takes a class, not {type(cls).__name__}.")
        if (encode is None) is not (decode is None):
            raise errors.UsageError("Give both encode= and decode=, or neither.")
        if builtin_of_class(cls) is not None:
            if type_id is not None or aliases or encode is not None:
                raise errors.UsageError(f"{cls.__name__} is stored without registration.")
            return
        chosen = type_id if type_id is not None else default_id(cls)
        names = (chosen, *_texts(aliases))
        for name in names:
            self._check_free(cls, name)
        if (known := self._by_class.get(cls)) is not None and known.key != CLASS_MARK + chosen:
            raise errors.UsageError(
                f"{cls.__qualname__} is registered already, as "
                f"{known.key.removeprefix(CLASS_MARK)!r}. Give former ids as aliases=."
            )
        self._add(self._entry(cls, chosen, encode, decode), names)

    def add_own(self, cls: type, encode: Encode, decode: Decode) -> None:
        """Teach the registry that all others ask in the end a class of Stepwell's own."""
        if self._parent is not None:
            self._parent.add_own(cls, encode, decode)
            return
        name = _RESERVED + cls.__name__
        self._add(self._entry(cls, name, encode, decode), (name,))

    def _entry(
        self, cls: type, type_id: str, encode: Encode | None, decode: Decode | None
    ) -> Entry:
        key = CLASS_MARK + type_id
        if encode is not None and decode is not None:
            return Entry(key, cls, _hooked(cls, encode), decode, foreign=True)
        entry = kinds.entry_for(cls, key)
        if entry is None:
            raise errors.UsageError(
                f"{cls.__qualname__} is neither an enum, exception, dataclass, NamedTuple, attrs "
                "class, pydantic model nor a subclass of one built-in type. "
                "Register it with encode= and decode=."
            )
        return entry

    def _check_free(self, cls: type, name: str) -> None:
        if not name or not name.isprintable():
            raise errors.UsageError(f"{name!r} cannot be a type id: use printable characters.")
        if name.startswith(_RESERVED):
            raise errors.UsageError(f"Type ids that begin with {_RESERVED!r} are Stepwell's own.")
        taken = self.by_id(name)
        if taken is None or taken.cls is cls:
            return
        if _redefined(taken.cls, cls):  # here the newer one counts; in a parent the older stays
            if self._by_id.get(name) is taken:
                self._by_class.pop(taken.cls, None)
            return
        raise errors.UsageError(
            f"The type id {name!r} belongs to {default_id(taken.cls)}; it cannot name "
            f"{default_id(cls)} as well. Give one of them another type_id=."
        )

    def _add(self, entry: Entry, names: Collection[str]) -> None:
        self._by_class[entry.cls] = entry
        for name in names:
            self._by_id[name] = entry


def default_id(cls: type) -> str:
    """`module:qualname`."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _redefined(old: type, new: type) -> bool:
    """Whether one class statement was executed again: a notebook cell, a reloaded module."""
    return default_id(old) == default_id(new) and "<locals>" not in new.__qualname__


def _texts(names: Collection[str]) -> Collection[str]:
    if isinstance(names, str):
        raise errors.UsageError(f"aliases= takes a collection of ids, not the text {names!r}.")
    return names


def _hooked(cls: type, encode: Encode) -> Encode:
    def take(instance: Any) -> Any:
        try:
            return encode(instance)
        except Exception as exc:
            problem = f"an instance of {cls.__qualname__} that its encode= hook failed on ({exc!r})"
            raise Refusal(cls, problem, "Correct the hook.") from exc

    return take


_OWN_TYPES: tuple[type, ...] = (
    types.Command, types.GraphOutput, types.Interrupt, types.Overwrite, types.TimeoutPolicy,
    RemoveMessage,
)  # fmt: skip
_SEND_FIELDS = ("node", "arg", "timeout")
_EXCEPTIONS: tuple[type[BaseException], ...] = (
    BaseException, Exception, ArithmeticError, AssertionError, AttributeError, BlockingIOError,
    BrokenPipeError, BufferError, ChildProcessError, ConnectionAbortedError, ConnectionError,
    ConnectionRefusedError, ConnectionResetError, EOFError, FileExistsError, FileNotFoundError,
    FloatingPointError, ImportError, IndentationError, IndexError, InterruptedError,
    IsADirectoryError, KeyError, KeyboardInterrupt, LookupError, MemoryError, ModuleNotFoundError,
    NameError, NotADirectoryError, NotImplementedError, OSError, OverflowError, PermissionError,
    ProcessLookupError, RecursionError, ReferenceError, RuntimeError, StopAsyncIteration,
    StopIteration, SyntaxError, SystemError, SystemExit, TabError, TimeoutError, TypeError,
    UnboundLocalError, UnicodeDecodeError, UnicodeEncodeError, UnicodeError,
    UnicodeTranslateError, ValueError, ZeroDivisionError,
)  # fmt: skip


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, errors.StepwellError)


class _Root(Registry):
    """What every registry knows. It is asked about classes that nobody has registered, so it
    learns what it knows when it is first asked."""

    def __init__(self) -> None:
        super().__init__()
        self._filled = False

    def _fill(self) -> None:
        for own in _OWN_TYPES:
            name = _RESERVED + own.__name__
            self._learn(self._entry(own, name, None, None), name)
        name = _RESERVED + "Send"
        fields = [records.Field(name, required=True, default=None) for name in _SEND_FIELDS]
        self._learn(records.record(types.Send, CLASS_MARK + name, fields), name)
        own_errors = [e for e in vars(errors).values() if _is_error(e)]
        for exception in (*_EXCEPTIONS, *own_errors):
            name = default_id(exception)
            self._learn(self._entry(exception, name, None, None), name)
        self._filled = True

    def _learn(self, entry: Entry, name: str) -> Entry:
        """Give back the entry of the class. Values are encoded in several threads: of two that
        learn a class at once, the first is believed, which needs no lock."""
        entry = self._by_class.setdefault(entry.cls, entry)
        self._by_id[name] = entry
        return entry

    def by_class(self, cls: type) -> Entry | None:
        if not self._filled:
            self._fill()
        entry = self._by_class.get(cls)
        if entry is None and (type_id := type_id_of(cls)) is not None:
            return self._foreign(cls, type_id)
        return entry

    def by_id(self, type_id: str) -> Entry | None:
        if not self._filled:
            self._fill()
        entry = self._by_id.get(type_id)
        if entry is None and (cls := class_under(type_id)) is not None:
            return self._foreign(cls, type_id)
        return entry

    def _foreign(self, cls: type, type_id: str) -> Entry:
        """Learn a class of LangChain's: of a package that somebody else has imported."""
        return self._learn(self._entry(cls, type_id, None, None), type_id)


_ROOT = _Root()
GLOBAL = Registry()
"""What `register` fills; the parent of every graph's registry."""


def register_own(cls: type, encode: Encode, decode: Decode) -> None:
    """Let every registry know a class of Stepwell's that stands on a higher floor."""
    GLOBAL.add_own(cls, encode, decode)


@overload
def register(
    cls: type[T],
    /,
    *,
    type_id: str | None = None,
    aliases: Collection[str] = (),
    encode: Encode | None = None,
    decode: Decode | None = None,
) -> type[T]: ...
@overload
def register(
    cls: None = None,
    /,
    *,
    type_id: str | None = None,
    aliases: Collection[str] = (),
    encode: Encode | None = None,
    decode: Decode | None = None,
) -> Callable[[type[T]], type[T]]: ...
def register(
    cls: type[T] | None = None,
    /,
    *,
    type_id: str | None = None,
    aliases: Collection[str] = (),
    encode: Encode | None = None,
    decode: Decode | None = None,
) -> type[T] | Callable[[type[T]], type[T]]:
    """Allow instances of a class in states, for every graph of this process.

    Classes named in a graph's state schema are registered for that graph by themselves;
    this is for the others: values behind `Any`, subclasses, members of other people's
    libraries. Use it as a call or as a decorator, with or without options.

    Args:
        cls: The class; its subclasses are not covered.
        type_id: Name in stored documents, kept for good; default `module:qualname`.
        aliases: Former ids: they are read, never written.
        encode: Instance to a supported value; needed only for classes of no known kind.
        decode: Its inverse.

    Returns:
        The class, or a decorator when it was not given.

    Raises:
        UsageError: An id is taken by another class, or the class needs hooks.
    """

    def add(target: type[T]) -> type[T]:
        GLOBAL.register(target, type_id, aliases, encode, decode)
        return target

    return add if cls is None else add(cls)
