"""Measuring a user's own database: figures come back, and nothing else stays behind."""

from __future__ import annotations

import json

import pytest

from stepwell import open_saver
from stepwell._db._postgres_schema import drop_scratch
from stepwell.errors import StorageError, UsageError
from stepwell.testing import _bench
from stepwell.testing._bench import SCRATCH, BenchResult, abench
from tests._postgres import execute, fresh_role

SMALL = {"runs": 3, "threads": 4, "turns": 20}
PLACES = ("memory", "sqlite", "sqlite in memory",
          pytest.param("postgres", marks=pytest.mark.postgres))  # fmt: skip


@pytest.fixture(params=PLACES)
def url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("pg_dsn")
    return {
        "memory": "memory://",
        "sqlite": f"sqlite:///{tmp_path}/app.db",
        "sqlite in memory": "sqlite://",
    }[request.param]


async def scratch_schemas(dsn):
    return await execute(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", SCRATCH, dsn=dsn
    )


async def test_figures_of_each_workload(url, tmp_path):
    result = await abench(url, **SMALL)
    assert result.database == url.partition("://")[0].replace("postgresql", "postgres")
    assert (result.runs, result.threads, result.turns) == (3, 4, 20)
    figures = result.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    durations = {n: v for n, v in figures.items() if n.endswith(("_ms", "_per_s"))}
    assert len(durations) == 8
    quartiles = durations.pop("run_quartiles_ms")
    assert quartiles[0] <= result.run_ms <= quartiles[1]
    probed = durations.pop("probe_ms")
    assert all(value > 0 for value in durations.values())
    assert (probed is None) == (result.probe is None) == (url in ("memory://", "sqlite://"))
    # Two checkpoints a turn and more, of what was said once.
    assert result.bytes_over_payload > 1
    if url.startswith("postgres"):
        assert await scratch_schemas(url) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_run_that_waits_for_its_turn_of_the_loop_is_slow():
    """In memory each run ends before the next one begins, so the last has waited for all."""
    result = await abench("memory://", runs=2, threads=8, turns=20)
    all_of_them_ms = 8 * _bench.CHAIN / result.crowd_steps_per_s * 1e3
    assert result.crowd_p99_ms > all_of_them_ms * 0.7


async def test_the_users_threads_are_not_touched(tmp_path):
    url = f"sqlite:///{tmp_path}/app.db"
    async with open_saver(url) as saver:
        await saver.asetup()
    before = (tmp_path / "app.db").read_bytes()
    await abench(url, **SMALL)
    assert (tmp_path / "app.db").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(SCRATCH)]


async def fail(*_):
    msg = "the machine went away"
    raise OSError(msg)


async def test_an_error_leaves_nothing_behind(url, tmp_path, monkeypatch):
    monkeypatch.setattr(_bench, "_crowd", fail)
    with pytest.raises(OSError, match="went away"):
        await abench(url, **SMALL)
    assert list(tmp_path.iterdir()) == []
    if url.startswith("postgres"):
        assert await scratch_schemas(url) == []


@pytest.mark.postgres
async def test_a_role_that_may_not_create_a_schema_is_told(pg_dsn):
    async with fresh_role() as (_, dsn):
        with pytest.raises(StorageError, match="permission denied"):
            await abench(dsn, **SMALL)


@pytest.mark.postgres
async def test_a_schema_of_somebody_is_never_dropped(pg_dsn, pg_schema):
    async with open_saver(pg_dsn, schema=pg_schema) as saver:
        database = (await saver.journal()).driver.database
        for prefix in (SCRATCH, ""):
            with pytest.raises(UsageError, match="was made to be thrown away"):
                await database.drop_scratch(prefix)
        assert [t async for t in saver.alist_threads()] == []
    assert drop_scratch.__doc__


@pytest.mark.parametrize("wrong", [{"runs": 1}, {"threads": 0}, {"turns": 19}, {"runs": 2.5}])
async def test_counts_that_measure_nothing_are_refused(wrong):
    [name] = wrong
    with pytest.raises(UsageError, match=name):
        await abench("memory://", **{**SMALL, **wrong})


@pytest.mark.parametrize("url", ["mysql://x", 5])
async def test_other_databases_are_refused(url):
    with pytest.raises(UsageError):
        await abench(url)


def test_text_for_a_terminal():
    text = BenchResult(
        database="sqlite", probe="fdatasync", probe_ms=0.123, runs=50, steps_per_s=1234.5,
        run_ms=8.1, run_quartiles_ms=(7.0, 9.0), threads=64, crowd_steps_per_s=20000.0,
        crowd_p99_ms=40.0, turns=200, turn_ms=0.4, last_turns_over_first=1.1, read_ms=0.9,
        bytes_over_payload=2.0,
    ).to_text()  # fmt: skip
    assert text.splitlines() == [
        "database       sqlite, fdatasync 0.123 ms",
        "one client     1,234 supersteps/s; a run of 10 takes 8.1 ms (7-9)",
        "64 clients     20,000 supersteps/s; p99 of a run 40 ms",
        (
            "200 turns      0.4 ms each; the last over the first 1.10x; "
            "2.00 bytes of records for one said"
        ),
        "newest state   0.9 ms to read",
    ]
