"""The schema stays one that can be distributed by thread: rules over the SQL of all migrations."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.arch._rules import SRC

FOLDERS = sorted((SRC / "stepwell" / "_db").glob("*_migrations"))
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.sql"))]

KEY = {"key", "t"}
"""What the column is called that stands for the thread."""
OF_THE_WHOLE = {"stepwell_schema", "stepwell_meta", "stepwell_store_meta"}
"""Tables that say something of the database, not of a thread."""
CHANGED_BY_EVERY_COMMIT = {"beat", "record_no", "lease_until", "request", "wanted_at", "updated_at"}
FORBIDDEN = re.compile(
    r"\b(?:big|small)?serial\b|\bidentity\b|\bsequence\b|\bnextval\b"
    r"|\btrigger\b|\block\s+table\b|\bdeferrable\b|\bexclude\b|\breferences\b|\bforeign\s+key\b",
    re.IGNORECASE,
)
TABLE = re.compile(
    r"create\s+table\s+(?:if\s+not\s+exists\s+)?(\S+?)\s*\((.*)\)",
    re.IGNORECASE | re.DOTALL,
)
INDEX = re.compile(
    r"create\s+(unique\s+)?index\s+(?:if\s+not\s+exists\s+)?(\S+)\s+on\s+(\S+?)\s*\(([^)]*)\)(.*)",
    re.IGNORECASE | re.DOTALL,
)
LISTED_KEY = re.compile(
    r"(?:constraint\s+\w+\s+)?(?:primary\s+key|unique)\s*\((.*)\)", re.IGNORECASE | re.DOTALL
)
OWN_KEY = re.compile(r"\b(?:primary\s+key|unique)\b", re.IGNORECASE)


def statements(sql: str) -> list[str]:
    """The statements without comments; bodies of functions count as one."""
    bare = re.sub(r"--[^\n]*", "", sql)
    bare = re.sub(r"\$(\w*)\$.*?\$\1\$", "''", bare, flags=re.DOTALL)
    return [part.strip() for part in bare.split(";") if part.strip()]


def breaches(sql: str) -> Iterator[str]:
    """What would keep threads from living on different nodes, or updates from being cheap."""
    for statement in statements(sql):
        yield from (f"{word!r}: {statement[:60]}" for word in FORBIDDEN.findall(statement))
        if table := TABLE.match(statement):
            yield from _keys_of_table(_bare(table[1]), table[2])
        elif index := INDEX.match(statement):
            yield from _index(*index.groups())


def _keys_of_table(table: str, body: str) -> Iterator[str]:
    if table in OF_THE_WHOLE:
        return
    keys = [key for entry in _entries(body) if (key := _key(entry))]
    if not keys:
        yield f"{table} has no key"
    for columns in keys:
        names_the_thread = table == "stepwell_thread" and columns == ["scope", "thread_id"]
        if columns[0] not in KEY and not names_the_thread:
            yield f"{table}: a key begins with {columns[0]}"


def _entries(body: str) -> Iterator[str]:
    """Columns and constraints: what stands between the outermost commas."""
    depth, entry = 0, ""
    for sign in body:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:  # the end of the list; options of the table follow
            break
        if sign == "," and not depth:
            yield entry.strip()
            entry = ""
        else:
            entry += sign
    yield entry.strip()


def _key(entry: str) -> list[str]:
    """The columns that a column or constraint makes unique; none if it does not."""
    if listed := LISTED_KEY.fullmatch(entry):
        return _columns(listed[1])
    return [entry.split(maxsplit=1)[0].lower()] if OWN_KEY.search(entry) else []


def _index(unique: str | None, name: str, table: str, listed: str, rest: str) -> Iterator[str]:
    columns = _columns(listed)
    names_the_thread = _bare(table) == "stepwell_thread" and columns == ["scope", "thread_id"]
    if unique and columns[0] not in KEY and not names_the_thread:
        yield f"unique index {_bare(name)} begins with {columns[0]}"
    if _bare(table) == "stepwell_thread":
        hot = CHANGED_BY_EVERY_COMMIT & {*columns, *re.findall(r"\w+", rest)}
        yield from (f"index {_bare(name)} holds {column}" for column in sorted(hot))


def _columns(listed: str) -> list[str]:
    return [part.split(maxsplit=1)[0].lower() for part in listed.split(",")]


def _bare(name: str) -> str:
    return name.rpartition(".")[2].strip('"')


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_migration_can_be_distributed_by_thread(path):
    assert list(breaches(path.read_text(encoding="utf-8"))) == []


def test_both_databases_have_migrations_numbered_without_a_gap():
    assert [folder.name for folder in FOLDERS] == [
        "postgres_migrations",
        "postgres_store_migrations",
        "sqlite_migrations",
        "sqlite_store_migrations",
    ]
    for folder in FOLDERS:
        numbers = [path.name[:4] for path in sorted(folder.iterdir()) if path.suffix == ".sql"]
        assert numbers == [f"{no:03}_" for no in range(1, len(numbers) + 1)]
        assert numbers


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (key uuid, x int, PRIMARY KEY (x, key))",
        "CREATE TABLE a (key uuid, x int UNIQUE, PRIMARY KEY (key, x))",
        "CREATE TABLE a (\n  x int PRIMARY KEY,\n  key uuid\n)",
        "CREATE TABLE a (key uuid, x int)",
        "CREATE TABLE a (key uuid REFERENCES b, PRIMARY KEY (key))",
        "CREATE TABLE a (key bigserial PRIMARY KEY)",
        "CREATE UNIQUE INDEX i ON {schema}.a (x)",
        "CREATE INDEX i ON {schema}.stepwell_thread (scope, updated_at)",
        "CREATE INDEX i ON stepwell_thread (scope) WHERE lease_until IS NULL",
        "CREATE TRIGGER t BEFORE INSERT ON a EXECUTE FUNCTION f()",
    ],
)
def test_a_planted_breach_is_seen(sql):
    assert list(breaches(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE {schema}.a (\n  key uuid NOT NULL,\n  x int,\n  PRIMARY KEY (key, x)\n)",
        "CREATE TABLE a (key uuid PRIMARY KEY, x int) WITH (fillfactor = 50)",
        "CREATE TABLE stepwell_meta (name TEXT PRIMARY KEY)",
        "CREATE INDEX i ON stepwell_thread (scope, created_at) -- no trigger",
    ],
)
def test_what_is_allowed_is_not_reported(sql):
    assert list(breaches(sql)) == []
