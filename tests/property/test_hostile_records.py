"""Records that somebody has damaged or forged: a CodecError or the right state, never another one.

Damage is what a disk does: bytes change, and no longer fit their checksum. A forgery fits it.
"""

from __future__ import annotations

import asyncio
import copy
import random
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from stepwell import Keyring, open_saver
from stepwell._codec import Codec
from stepwell._codec.compress import expand, packer
from stepwell._codec.crypt import Keyring as Ring
from stepwell._journal.details import Inside, unpack_segment
from stepwell._journal.load import (
    Revived,
    add_row,
    contributions,
    fold,
    pending_value,
    pending_writes,
    trail,
)
from stepwell._journal.metadata import decode_metadata
from stepwell._journal.segments import last_row, segment_body
from stepwell.checkpoint.driver import Loaded, LoadRequest, SegmentRow
from stepwell.errors import CodecError, CorruptRecordError
from tests.engine import _secret_kinds as kinds

CODEC = Codec()


async def _collect(**options: Any) -> list[Loaded]:
    found = []
    async with open_saver("memory://", **options) as saver:
        for kind in (kinds.appended, kinds.messages, kinds.pending, kinds.results, kinds.written):
            await kind(saver.scoped(kind.__name__))
            journal = await saver.journal()
            key = saver.scoped(kind.__name__).key("t")
            found.append(await journal.load(LoadRequest(key)))
        await kinds.long(saver)
        await saver.acompact()
        page = await (await saver.journal()).history(saver.key("t"), "")
        found.append(Loaded(thread=page.thread, rows=page.rows, segments=page.segments))
    return found


LOADED = asyncio.run(_collect())


def shown(loaded: Loaded) -> Any:
    """All that a reader makes of what was loaded."""
    pieces = trail(loaded)
    folded = fold(pieces)
    state = dict(Revived(folded, CODEC, track=True).values)
    for segment in loaded.segments:
        for row in unpack_segment(segment):
            decode_metadata(row.metadata, CODEC)
        last_row(segment)
        for cut in Inside(segment).cuts():
            fold([cut])
            last_row(cut)
    told = []
    for row in loaded.rows[-3:]:
        before = fold(trail(loaded, row.seq))
        document = add_row(copy.deepcopy(before), row)
        told.append([(c.name, c.writes, c.control) for c in contributions(document, before, CODEC)])
    left = [
        pending_writes(w, CODEC) if w.idx == 0 else pending_value(w, CODEC) for w in loaded.writes
    ]
    return repr((state, folded.versions, folded.seen, told, left))


def attempt(loaded: Loaded) -> Any:
    """What a reader makes of it, or the CodecError; anything else fails the test."""
    try:
        return shown(loaded)
    except CodecError as error:
        return error


def put(loaded: Loaded, change: Callable[[Any], Any], part: str, at: int) -> Loaded:
    """What was loaded, with one row changed."""
    rows = list(getattr(loaded, part))
    rows[at] = change(rows[at])
    fields = {n: getattr(loaded, n) for n in ("thread", "ns", "rows", "segments", "writes", "runs")}
    return Loaded(**{**fields, part: rows})


def places() -> list[tuple[Loaded, str, int]]:
    return [
        (loaded, part, at)
        for loaded in LOADED
        for part in ("rows", "segments", "writes")
        for at in range(len(getattr(loaded, part)))
    ]


def test_no_flipped_byte_of_a_body_goes_unnoticed(seed: int) -> None:
    """T17: every body, details too; a bit of a byte drawn by lot, at some hundred places each."""
    rng = random.Random(seed)
    true = {id(loaded): shown(loaded) for loaded in LOADED}
    for loaded, part, at in places():
        row = getattr(loaded, part)[at]
        for field in ("body", "detail") if part == "segments" else ("body",):
            whole = getattr(row, field)
            for where in rng.sample(range(len(whole)), min(len(whole), 12)):
                bad = bytearray(whole)
                bad[where] ^= 1 << rng.randrange(8)
                changed = put(loaded, lambda r: r._replace(**{field: bytes(bad)}), part, at)  # noqa: B023
                result = attempt(changed)
                assert isinstance(result, CodecError) or result == true[id(loaded)]


def test_swapped_and_cut_bodies_are_noticed(seed: int) -> None:
    rng = random.Random(seed)
    bodies = [getattr(loaded, part)[at].body for loaded, part, at in places()]
    for loaded, part, at in places():
        own = getattr(loaded, part)[at].body
        for body in (*rng.sample(bodies, 5), own[: len(own) // 2], own[:-1], own + b" ", b""):
            if body != own:
                changed = put(loaded, lambda r: r._replace(body=body), part, at)  # noqa: B023
                assert isinstance(attempt(changed), CodecError)


JUNK = (
    None, True, -1, 0, 1, 7, 2**63, 1e308, "", "x", "s", "W", "$tuple", [], {}, [1], [[0, 0]],
    [[9, 9]], ["s"], ["p", 1, 2, "x", 3], ["w", [[0, 0]]], ["zz", 1], {"a": 1}, {"$tuple": [1]},
    {"v": "x", "r": 3}, ["e", [[None, 0, []]]], ["e", [["a", "b", "c"]]], [[[[]]]],
)  # fmt: skip


def spots(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if type(node) is dict else range(len(node)) if type(node) is list else ()
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    return found


def forged(rng: random.Random, data: bytes) -> bytes:
    """A document with some parts replaced, dropped or repeated: well-formed, and wrong."""
    tree = orjson.loads(data)
    for _ in range(rng.randint(1, 3)):
        if not (found := spots(tree)):
            break
        container, key = rng.choice(found)
        what = rng.randrange(4)
        if what == 0:
            del container[key]
        elif what == 1 and type(container) is list:
            container.append(copy.deepcopy(rng.choice(JUNK)))
        else:
            container[key] = copy.deepcopy(rng.choice(JUNK))
    return orjson.dumps(tree)


def forged_detail(rng: random.Random, detail: bytes) -> bytes:
    """The head of a detail, or one of its pieces, forged; the lengths of pieces stay true."""
    if detail[:1] != b"\1":
        return zlib.compress(forged(rng, zlib.decompress(detail)))
    at = 5 + int.from_bytes(detail[1:5])
    head, pieces = zlib.decompress(detail[5:at]), []
    for _, size in orjson.loads(head)["n"]:
        pieces.append(detail[at : at + size])
        at += size
    if rng.random() < 0.5:
        head = forged(rng, head)
    else:
        which = rng.randrange(len(pieces))
        pieces[which] = zlib.compress(forged(rng, zlib.decompress(pieces[which])))
        tree = orjson.loads(head)
        tree["n"][which][1] = len(pieces[which])
        head = orjson.dumps(tree)
    packed = zlib.compress(head)
    return b"".join((b"\1", len(packed).to_bytes(4), packed, *pieces))


@pytest.mark.parametrize("part", ["rows", "segments", "writes"])
def test_forged_documents_raise_codec_errors_only(part: str, seed: int) -> None:
    """T18: whoever can write to the database makes records that fit their checksums."""
    rng = random.Random(seed)
    chosen = [place for place in places() if place[1] == part]
    refused = 0
    for _ in range(250):
        loaded, _, at = rng.choice(chosen)
        row = getattr(loaded, part)[at]
        body = forged(rng, row.body)
        fields = {"body": body, "crc": zlib.crc32(body)}
        if part == "segments" and rng.random() < 0.5:
            fields = {"detail": forged_detail(rng, row.detail)}
        result = attempt(put(loaded, lambda r: r._replace(**fields), part, at))  # noqa: B023
        refused += isinstance(result, CodecError)
    assert refused > 25


@pytest.mark.parametrize("levels", [100, 2_000, 100_000])
def test_deep_bodies_are_refused_without_a_crash(levels: int) -> None:
    for loaded, part, at in places()[::7]:
        body = b'{"t":[],"c":{"n":["S",' + b"[" * levels + b"]" * levels + b']},"w":[]}'
        changed = put(loaded, lambda r: r._replace(body=body, crc=zlib.crc32(body)), part, at)  # noqa: B023
        attempt(changed)


def test_a_few_bytes_do_not_become_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that was compressed to expand without end is refused before it fills the memory."""
    from stepwell._codec import compress

    monkeypatch.setattr(compress, "EXPANDED_BYTES_MAX", 1 << 20)
    for kind in ("zlib", "zstd"):
        form, packed = packer(kind)(bytes(8 << 20))
        assert len(packed) < 40_000
        with pytest.raises(CorruptRecordError, match="larger"):
            expand(form, packed)
    segment = next(s for loaded in LOADED for s in loaded.segments)
    bomb = segment._replace(detail=zlib.compress(bytes(8 << 20)))
    with pytest.raises(CorruptRecordError):
        unpack_segment(bomb)


@pytest.mark.parametrize("kind", ["zlib", "zstd"])
def test_compressed_bytes_come_back_or_are_refused(kind: Any, seed: int) -> None:
    rng = random.Random(seed)
    data = b"some words that repeat " * 400
    form, packed = packer(kind)(data)
    assert form != 1
    assert expand(form, packed) == data
    for _ in range(300):
        bad = bytearray(packed)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        try:
            expand(form, bytes(bad[: rng.randrange(len(bad))] if rng.random() < 0.3 else bad))
        except CodecError:
            continue  # else the checksum of the row finds it
    with pytest.raises(CodecError):
        expand(9, packed)


def test_hostile_sealed_bytes_do_not_open(seed: int) -> None:
    """Whatever the bytes: a CorruptRecordError, no other one, and nothing opened."""
    rng = random.Random(seed)
    ring = Keyring({"k": bytes(32)}, "k")
    assert Ring is Keyring
    sealed = ring.seal(("", "t"), ("c", 1), b"the truth", bytes(12))
    assert ring.open("k", ("", "t"), ("c", 1), sealed) == b"the truth"
    for size in range(len(sealed)):
        with pytest.raises(CorruptRecordError):
            ring.open("k", ("", "t"), ("c", 1), sealed[:size])
    for _ in range(500):
        with pytest.raises(CorruptRecordError):
            ring.open("k", ("", "t"), ("c", 1), rng.randbytes(rng.randrange(80)))


def test_the_samples_have_every_kind_of_record() -> None:
    assert any(loaded.segments for loaded in LOADED)
    assert any(w.idx == 0 for loaded in LOADED for w in loaded.writes)
    assert any(w.idx < 0 for loaded in LOADED for w in loaded.writes)
    assert all(isinstance(s, SegmentRow) and segment_body(s) for x in LOADED for s in x.segments)
