"""Scoped views: two tenants on one saver never see or change what is the other's."""

from __future__ import annotations

import random
from typing import Any

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import InvalidIdError, UsageError
from tests.engine._tenants import TENANTS, THREADS, VERBS, Tenant, check

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


async def test_tenants_never_meet(saver: Saver, seed: int) -> None:
    """Whatever they are called, and whatever they do in whatever order: each sees what it would
    see if it were alone."""
    rng = random.Random(seed)
    acts = [
        (who, (verb, rng.choice(THREADS[:2]), rng.randrange(9)))
        for verb in VERBS
        for who in range(len(TENANTS))
    ]
    rng.shuffle(acts)
    await check(saver, TENANTS, acts)


async def test_a_verb_of_one_tenant_changes_nothing_of_the_others(saver: Saver) -> None:
    """One after the other does everything there is to do; what the rest has stays as it is."""
    tenants = [Tenant(saver.scoped(name), name) for name in ("", "a", "ab", "a%")]
    for tenant in tenants:
        for act in (("run", "t", 1), ("ask", "t%", 2), ("crash", "tt", 3)):
            await tenant.act(act)
    seen = [await tenant.everything() for tenant in tenants]
    for at, tenant in enumerate(tenants):
        for verb in dict.fromkeys(VERBS):
            await tenant.act((verb, "t", 4))
        for thread in THREADS:
            await tenant.act(("delete", thread, 0))
        left = [await other.everything() for other in tenants[at + 1 :]]
        assert left == seen[at + 1 :]
        assert await tenant.everything() == {
            "%runs": [], "%found": [], "%orphans": [], "%listed": 0,
        }  # fmt: skip


async def test_views_share_the_connections_and_close_nothing(saver: Saver) -> None:
    """The journal, with its limits, is one; a view of a view is in the scope it was given last."""
    view = saver.scoped("a")
    async with view as entered:
        assert entered is view
        assert await view.journal() is await saver.journal()
        await Tenant(view, "a").act(("run", "t", 1))
    await view.aclose()
    assert await view.aget_tuple(CONFIG) is not None
    assert await saver.aget_tuple(CONFIG) is None
    assert await view.scoped("b").aget_tuple(CONFIG) is None
    assert await view.scoped("b").scoped("a").aget_tuple(CONFIG) is not None
    assert view.scoped("").scope == ""


async def test_orphans_are_recovered_whatever_names_are_allowed() -> None:
    """The rule for thread ids is asked of ids only that somebody gave."""
    async with open_saver("memory://", thread_id_rule="t+") as saver:
        tenant = Tenant(saver.scoped("a"), "a")
        assert await tenant.act(("crash", "tt", 1)) == "StorageUnavailableError"
        assert await tenant.act(("recover", "tt", 1)) != "InvalidIdError"
        assert await tenant.act(("run", "other", 1)) == "InvalidIdError"


async def test_a_view_does_not_drain_the_others() -> None:
    """Draining is for the process: a tenant may not stop the runs of all."""
    async with InMemorySaver() as saver:
        with pytest.raises(UsageError, match="drain"):
            await saver.scoped("a").adrain(0)
        assert (await saver.adrain(0)).running == ()


@pytest.mark.parametrize("scope", [None, 1, b"a", "a\0", "\ud800", "a" * 513])
def test_what_is_no_scope(scope: Any) -> None:
    with InMemorySaver() as saver, pytest.raises(InvalidIdError):
        saver.scoped(scope)
