"""A process that folds and prunes until it is killed: `python _upkeep_child.py URL SEED`."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter

from stepwell import open_saver
from tests.torture._upkeep import keep_small


async def main(url: str, seed: int) -> None:
    dice, done = random.Random(seed), Counter()
    async with open_saver(url, lease_ttl_s=1.0) as saver:
        await saver.asetup()
        print("ready", flush=True)
        while True:
            await keep_small(saver, dice, done)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
