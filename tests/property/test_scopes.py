"""Tenants with names that are alike, doing anything in any order on one saver."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import open_saver
from tests.engine._tenants import TENANTS, THREADS, VERBS, Act, check

NAMES = st.one_of(st.sampled_from(TENANTS), st.text("a%_\u0101*?[\\'\"", max_size=3))
ACTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.tuples(st.sampled_from(VERBS), st.sampled_from(THREADS), st.integers(0, 8)),
    ),
    max_size=14,
)


@settings(max_examples=30)
@given(names=st.lists(NAMES, min_size=3, max_size=3, unique=True), acts=ACTS)
def test_each_tenant_sees_what_it_would_see_alone(
    names: list[str], acts: list[tuple[int, Act]]
) -> None:
    """Results of all verbs, and all that can be read at the end."""

    async def run() -> None:
        async with open_saver("memory://") as saver:
            await check(saver, names, acts)

    asyncio.run(run())
