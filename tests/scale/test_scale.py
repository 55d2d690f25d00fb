"""The large sizes of the benchmarks, small, on every driver: each run is right, and nothing that
must stay flat grows."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from benchmarks.workloads import scale
from stepwell import open_saver

PLACES = ("memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


class NoSystem:
    """The tests measure no bytes."""


@pytest.fixture(params=PLACES)
def saver_at(request, tmp_path):
    """Place, and what opens a saver there; the server is started for whom needs it."""
    place = request.param
    if place == "memory":
        return place, lambda **options: open_saver("memory://", **options)
    if place == "sqlite":
        return place, lambda **options: open_saver(f"sqlite:///{tmp_path}/scale.db", **options)
    dsn, schema = request.getfixturevalue("pg_dsn"), request.getfixturevalue("pg_schema")
    return place, lambda **options: open_saver(dsn, schema=schema, **options)


@asynccontextmanager
async def figures_of(saver_at, work, size):
    place, make = saver_at
    async with make() as saver:
        yield saver, await work(NoSystem(), saver, 1, size=size, place=place)


async def test_many_threads(saver_at):
    async with figures_of(saver_at, scale.threads, 60) as (saver, figures):
        assert figures["create_per_s"][0] > 0
        # All were answered.
        waiting = [t async for t in saver.alist_threads(status="interrupted")]
        assert waiting == []


async def test_many_runs_at_once(saver_at):
    async with figures_of(saver_at, scale.runs, 50) as (saver, _):
        assert len([t async for t in saver.alist_threads(status="done")]) == 51


async def test_a_long_thread(saver_at):
    async with figures_of(saver_at, scale.steps, 400) as (saver, figures):
        assert len(figures["tenths_s"]) == 10
        # Its input is a checkpoint too, and what it begins with.
        assert (await saver.aget_thread("long")).checkpoints == 402


async def test_a_large_state(saver_at):
    async with figures_of(saver_at, scale.large, 1 << 20) as (_, figures):
        assert figures["run_s"][0] > 0
        assert figures["read_s"][0] > 0


async def test_a_wide_superstep(saver_at):
    async with figures_of(saver_at, scale.fan, 200) as (saver, _):
        assert (await saver.aget_thread("wide")).status == "done"


async def test_cold_threads_beside_a_hot_one(saver_at):
    async with figures_of(saver_at, scale.hot, 20) as (saver, figures):
        assert figures["hot_per_s"][0] > 0
        assert (await saver.aget_thread("hot")).status == "done"
