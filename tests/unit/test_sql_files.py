"""Reading SQL files: numbered migrations and named queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell._db.migrations import Migration, load_migrations, load_queries
from stepwell.errors import InternalError


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return folder


def test_migrations_are_read_in_order(tmp_path):
    folder = write(tmp_path, **{"002_b": "SELECT 2;", "001_a_b": "-- why\nSELECT 1;"})
    (folder / "README.md").write_text("not a migration")
    assert load_migrations(folder) == [
        Migration(1, "a_b", "-- why\nSELECT 1;"),
        Migration(2, "b", "SELECT 2;"),
    ]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"001_a": "SELECT 1;", "003_c": "SELECT 3;"},
        {"002_b": "SELECT 2;"},
        {"001_a": "SELECT 1;", "001_b": "SELECT 2;"},
        {"001_a": "-- only words\n;"},
        {"1_a": "SELECT 1;"},
        {"001_A": "SELECT 1;"},
    ],
    ids=["none", "gap", "no first", "twice", "empty", "short number", "upper case"],
)
def test_a_broken_series_of_migrations_is_refused(tmp_path, files):
    with pytest.raises(InternalError):
        load_migrations(write(tmp_path, **files))


def test_queries_are_found_by_name(tmp_path):
    text = "-- a file\n\n-- name: first\nSELECT 1;\n\n-- name: second\n-- note\nSELECT\n  2\n"
    queries = load_queries(write(tmp_path, q=text) / "q.sql")
    assert queries == {"first": "SELECT 1", "second": "-- note\nSELECT\n  2"}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 0;\n-- name: a\nSELECT 1;",
        "-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;",
        "-- name: a\n-- nothing\n-- name: b\nSELECT 2;",
        "-- name: Upper-Case\nSELECT 1;",
    ],
    ids=["text above", "twice", "empty", "odd name"],
)
def test_a_broken_file_of_queries_is_refused(tmp_path, text):
    with pytest.raises(InternalError):
        load_queries(write(tmp_path, q=text) / "q.sql")
