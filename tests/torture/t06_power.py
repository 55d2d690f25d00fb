"""T6: the power goes while SQLite writes, and the disk keeps what the fsyncs made certain.

A program that runs threads and folds their rows is recorded by the shim: every write, truncate,
sync, unlink, and between them its own acknowledgements. The recording is stopped at operations
drawn from the seed, and for each the files are built as the disk may have kept them: with
everything, with only what was synced, with what came before some moment, or with any sectors of
the rest. Each is opened, held against what was acknowledged by then, and the work is finished on
it. `synchronous="full"` loses nothing acknowledged, also when one sync failed meanwhile; "normal"
may lose the newest of a thread, and nothing in the middle.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

from tests.torture._disk import LOSSES, Disk, Loss
from tests.torture._disk_record import SESSIONS
from tests.torture._disk_work import FOLDED, Acks, check, integrity
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture
from tests.torture._shim import Op, acknowledged, read_log, under_shim

THREADS = 3
SYNCS = 140
"""About as many syncs as the program does."""
AFTER_FAULT = "full, one sync failed"


@torture(
    "T6", needs=["compiler"], places=["sqlite"], per_commit="tests/torture/test_disk_faults.py"
)
def run(seed: int, budget: Budget) -> Figures:
    """Record one program per setting, and look at images of its disk in turn."""
    chance = random.Random(seed)
    recorded = [
        ("full", recording(budget.folder, "full")),
        ("normal", recording(budget.folder, "normal")),
        (AFTER_FAULT, recording(budget.folder, "full", chance.randrange(1, SYNCS))),
    ]
    figures = Figures()
    turn = 0
    while budget.more(figures.cases):
        name, ops = recorded[turn % len(recorded)]
        figures.add(images(ops, name, chance, budget.folder / f"{turn}"))
        turn += 1
    return figures


def recording(folder: Path, synchronous: str, failing: int = 0) -> list[Op]:
    """What a program did to its disk. `failing`: the number of a sync that fails, if any."""
    place = folder / f"recorded-{synchronous}-{failing}"
    place.mkdir()
    log = folder / f"{synchronous}-{failing}.log"
    module = "tests.torture._disk_record"
    order = (str(place), str(log), synchronous, str(THREADS), str(failing))
    done = under_shim(folder, module, *order)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return read_log(log, place)


def images(
    ops: list[Op], synchronous: str, chance: random.Random, folder: Path, count: int = 10
) -> Figures:
    """Stop the recording `count` times and check what is left."""
    figures = Figures()
    disk, begun = Disk(), 0
    for stop in sorted(chance.randrange(1, len(ops) + 1) for _ in range(count)):
        for op in ops[begun:stop]:
            disk.apply(op)
        begun = stop
        loss = chance.choice(LOSSES)
        image = disk.image(loss, chance)
        acks = Acks.read(acknowledged(ops[:stop]))
        _check(figures, image, acks, folder, (synchronous, loss, stop))
        part = (stop - 1) * 4 // len(ops)
        figures.stages[f"{synchronous}: quarter {part + 1} of the recording"] += 1
    return figures


def _check(
    figures: Figures,
    image: dict[str, bytes],
    acks: Acks,
    folder: Path,
    which: tuple[str, Loss, int],
) -> None:
    synchronous, loss, stop = which
    folder.mkdir()
    for name, content in image.items():
        (folder / name).write_bytes(content)
    threads = sorted(acks.by_thread) or ["s0-0"]
    try:
        broken, seen = asyncio.run(
            check(
                f"sqlite:///{folder}/disk.db", threads, acks,
                suffix_may_miss=synchronous == "normal", size=FOLDED,
            )
        )  # fmt: skip
        broken += integrity(folder / "disk.db")
    except Exception as error:  # an image that cannot be opened is the failure
        broken, seen = [repr(error)], {}
    figures.cases += 1
    figures.counts[f"images that lost {loss}"] += 1
    figures.counts[f"acknowledged under {synchronous}"] += seen.get("acknowledged", 0)
    figures.counts[f"lost under {synchronous}"] += seen.get("lost", 0)
    figures.failures += [f"{synchronous}, lost {loss}, operation {stop}: {b}" for b in broken]
    shutil.rmtree(folder)


__all__ = ["SESSIONS", "THREADS", "images", "recording", "run"]
