"""Where a PostgreSQL server is: a libpq URL taken apart into what asyncpg and we use of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from stepwell._dataclass import dataclass
from stepwell.errors import UsageError

_KEPT: Final = frozenset({
    "database", "dbname", "gsslib", "host", "krbsrvname", "passfile", "password", "port",
    "service", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcrl",
    "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert",
    "target_session_attrs", "user",
})  # fmt: skip
"""Parameters of libpq that asyncpg reads from a URL."""

_HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    "channel_binding": frozenset({"prefer", "disable"}),
    "client_encoding": frozenset({"utf8", "utf-8", "auto"}),
    "gssencmode": frozenset({"prefer", "disable"}),
    "load_balance_hosts": frozenset({"disable"}),
    "sslcompression": frozenset({"0"}),
    "sslsni": frozenset({"1"}),
}
"""Parameters of libpq that change nothing for us at these values; others are refused."""

_REFUSED: Final = frozenset(
    {"hostaddr", "replication", "require_auth", "requirepeer", "sslcertmode"}
)

_KEEPALIVE: Final = frozenset({
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
})  # fmt: skip

POOL_MIN: Final = 3
CONNECT_TIMEOUT_S: Final = 10.0

_EXAMPLE = "postgresql://user:password@host:5432/database?sslmode=require"


@dataclass(slots=True, frozen=True, kw_only=True)
class Address:
    """How to reach one server.

    `url` goes to asyncpg and holds the credentials: it is never shown. `label` names host and
    database and is safe to show. `settings`: the user's settings of the session. `keepalive`:
    TCP options by their libpq names, seconds (tcp_user_timeout: milliseconds).
    """

    url: str = field(repr=False)
    label: str
    timeout_s: float = CONNECT_TIMEOUT_S
    settings: Mapping[str, str] = field(default_factory=dict)
    keepalive: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse_dsn(dsn: str, connect: Mapping[str, Any] | None = None) -> Address:
    """Take a libpq URL apart.

    Args:
        dsn: `postgresql://...`; its query parameters are libpq's.
        connect: extra arguments of `asyncpg.connect`; they win over the URL.

    Raises:
        UsageError: the URL is none, or asks for what asyncpg cannot do. The message never
            repeats the password, and the error has no cause that does.
    """
    parts = _split(dsn)
    query = _query(parts.query)
    kept = {name: value for name, value in query.items() if name in _KEPT}
    settings = {name: value for name, value in query.items() if name not in _KEPT}
    for name, harmless in _HARMLESS.items():
        value = settings.pop(name, None)
        if value is not None and value.lower() not in harmless:
            raise UsageError(
                f"The DSN asks for {name}={value}, which asyncpg cannot do. Leave it out."
            )
    for name in _REFUSED & settings.keys():
        raise UsageError(f"The DSN asks for {name}, which asyncpg cannot do. Leave it out.")
    keepalive = {name: _whole(name, settings.pop(name)) for name in _KEEPALIVE & settings.keys()}
    fallback = settings.pop("fallback_application_name", None)
    if fallback is not None:
        settings.setdefault("application_name", fallback)
    seconds = _whole("connect_timeout", settings.pop("connect_timeout", "0"))
    if connect is not None and not isinstance(connect, Mapping):
        raise UsageError(f"connect must be a mapping of arguments, not {connect!r:.100}.")
    options = dict(connect or {})
    settings.update(_settings(options.pop("server_settings", None)))
    timeout_s = float(options.pop("timeout", seconds or CONNECT_TIMEOUT_S))
    return Address(
        url=parts._replace(query=urlencode(kept)).geturl(),
        label=_label(parts, kept, options),
        timeout_s=timeout_s,
        settings=settings,
        keepalive=keepalive,
        options=options,
    )


def _split(dsn: str) -> SplitResult:
    if not isinstance(dsn, str):
        raise UsageError(f"A DSN is a str like {_EXAMPLE}, not {type(dsn).__name__}.")
    scheme = re.match(r"([a-zA-Z0-9+.-]+)://", dsn)
    if scheme is None:
        raise UsageError(f"The DSN is no URL. Write it as {_EXAMPLE}.")
    if scheme[1] not in {"postgresql", "postgres"}:
        raise UsageError(
            f"The DSN starts with {scheme[1]}://, which names no PostgreSQL server. Write it as "
            f"{_EXAMPLE}."
        )
    try:
        parts = urlsplit(dsn)
    except ValueError:
        parts = None
    # Only the last "@" ends the credentials; more of them, or a "#", are part of a password.
    if parts is None or parts.netloc.count("@") > 1 or parts.fragment:
        raise UsageError(
            "The DSN cannot be taken apart. Percent-encode special characters in user and "
            "password: @ is %40, / is %2F, # is %23, ? is %3F, : is %3A."
        )
    hosts = parts.netloc.rpartition("@")[2]
    for host in hosts.split(","):
        port = re.fullmatch(r"(?:\[[^]]*\]|[^:\[\]]*)(?::(\d*))?", host)
        if port is None or (port[1] and not 0 < int(port[1]) < 65536):
            raise UsageError(
                "The DSN names no usable host and port between // (or @) and /. Special "
                "characters in the password must be percent-encoded."
            )
    return parts


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        pairs = None
    if pairs is None:
        # Raised here, not in the handler: the cause would show what the query holds.
        raise UsageError("The part of the DSN after ? is not name=value pairs joined by &.")
    return dict(pairs)


def _whole(name: str, value: str) -> int:
    if not value.isdecimal():
        raise UsageError(f"The DSN says {name}={value}, which is no whole number.")
    return int(value)


def _settings(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError("connect={'server_settings': ...} must be a mapping of str to str.")
    return {str(name): str(value) for name, value in given.items()}


def _label(parts: SplitResult, query: Mapping[str, str], options: Mapping[str, Any]) -> str:
    host = (
        options.get("host") or parts.netloc.rpartition("@")[2] or query.get("host") or "localhost"
    )
    port = options.get("port") or query.get("port")
    path = unquote(parts.path.removeprefix("/"))
    database = options.get("database") or path or query.get("dbname") or query.get("database") or ""
    where = unquote(str(host)) + (f":{port}" if port else "")
    return f"{where}/{database}" if database else where


def check_pool(dsn: object, pool: Any, connect: object) -> None:
    """Either an address or a pool, and the pool large enough.

    Raises:
        UsageError: It is neither, both, or too small.
    """
    for given in (dsn, pool):
        module = type(given).__module__.partition(".")[0]
        if module in {"psycopg", "psycopg_pool", "psycopg2"}:
            raise UsageError(
                f"{type(given).__name__} belongs to {module}; Stepwell speaks through asyncpg. "
                "Use PostgresSaver.from_conn_string(dsn), or give an asyncpg.Pool."
            )
    if pool is not None and not isinstance(pool, asyncpg.Pool):
        raise UsageError(f"pool must be an asyncpg.Pool, not {type(pool).__name__}.")
    if (dsn is None) == (pool is None):
        raise UsageError("Give either a DSN (postgresql://...) or an asyncpg.Pool.")
    if pool is None:
        return
    if connect is not None:
        raise UsageError("connect= has no use with a given pool: its connections are made already.")
    if pool.get_max_size() < POOL_MIN:
        raise UsageError(
            f"The pool holds at most {pool.get_max_size()} connections. One commits, one holds the "
            f"locks, the others read: give it at least {POOL_MIN}."
        )
