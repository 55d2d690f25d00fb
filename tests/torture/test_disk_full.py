"""T8, small: no room on the disk for a while."""

from __future__ import annotations

import pytest

from tests.torture import t08_full
from tests.torture._figures import Budget


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_full_disk_is_waited_for_or_ends_typed(tmp_path, seed, capsys):
    """Runs with patience go on when there is room again, those without end typed and are finished
    later; nothing acknowledged is lost."""
    for more in range(5):  # on a slow day the work may be done before the disk is full
        folder = tmp_path / str(more)
        folder.mkdir()
        figures = t08_full.run(seed + more, Budget(folder=folder, cases=6, places=frozenset()))
        with capsys.disabled():
            print(f"\nT8 seed {seed + more}: {figures.line()}")
        assert not figures.failures
        assert figures.cases == 6 * len(t08_full.kinds())
        if any("did not meet" not in name for name in figures.stages):
            return
    pytest.fail("no run has met a full disk")
