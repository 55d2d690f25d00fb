"""Splices between encodings, and checksums."""

from __future__ import annotations

import zlib

import pytest

from stepwell._codec import apply_splice, crc, make_splice
from stepwell.errors import CorruptRecordError

OLD = (
    b"["
    + b",".join(b'{"n":%d,"text":"some words of varied length"}' % n for n in range(500))
    + b"]"
)


def test_crc_is_that_of_zlib():
    assert crc(b"123456789") == 0xCBF43926 == zlib.crc32(b"123456789")
    assert crc(b"") == 0


@pytest.mark.parametrize(
    "new",
    [
        OLD[:-1] + b',{"n":500}]',
        b'[{"n":-1},' + OLD[1:],
        OLD.replace(b'{"n":250,', b'{"n":"changed",'),
        OLD.replace(b'{"n":250,"text":"some words of varied length"},', b""),
        OLD,
        OLD[:300],
        OLD[-300:],
        OLD + OLD[: len(OLD) // 2],
    ],
    ids=["append", "prepend", "middle", "removed", "same", "cut", "tail", "half again"],
)
def test_a_small_change_is_a_small_splice(new):
    splice = make_splice(OLD, new)
    assert splice is not None
    prefix, suffix, middle, checksum = splice
    assert prefix + suffix + len(middle) == len(new)
    assert checksum == crc(new)
    assert apply_splice(OLD, splice) == new


def test_the_splice_of_an_append_repeats_only_what_was_appended():
    new = OLD[:-1] + b',{"n":500}]'
    assert make_splice(OLD, new) == (len(OLD) - 1, 1, b',{"n":500}', crc(new))


def test_every_place_of_a_change_is_found_exactly():
    """Window borders and bisection: one byte changed, at every place."""
    old = bytes(range(65, 90)) * 40
    for at in range(len(old)):
        new = old[:at] + b"!" + old[at + 1 :]
        assert make_splice(old, new) == (at, len(old) - at - 1, b"!", crc(new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b"x" * 300),
        (b"x" * 255, b"x" * 255),
        (b"a" * 1000, b"b" * 1000),
        (OLD, b"[" + b"9," * 2000 + b"]"),
        (b"", b""),
    ],
    ids=["from nothing", "short", "other", "mostly other", "empty"],
)
def test_a_splice_that_is_not_worth_it_is_none(old, new):
    assert make_splice(old, new) is None


def test_the_limit_is_half_of_the_new_bytes():
    old = b"a" * 200
    assert make_splice(old, old + b"b" * 200) is not None
    assert make_splice(old, old + b"b" * 201) is None


def test_repeated_bytes_are_not_kept_twice():
    """Start and end that overlap in `old`: a run that got longer or shorter."""
    for old_size, new_size in ((500, 700), (700, 500), (256, 257)):
        old, new = b"a" * old_size, b"a" * new_size
        splice = make_splice(old, new)
        assert splice is not None
        assert apply_splice(old, splice) == new


def test_the_cut_never_falls_into_a_character():
    old = ("ä" * 400).encode()
    new = ("ä" * 200 + "ö" + "ä" * 199).encode()  # both begin with the same byte
    splice = make_splice(old, new)
    assert splice is not None
    assert splice[2].decode() == "ö"
    assert apply_splice(old, splice) == new
    new = ("ä" * 200 + "Ĥ" + "ä" * 199).encode()  # ends with the same byte
    splice = make_splice(old, new)
    assert splice is not None
    assert splice[2].decode() == "Ĥ"


class Counting(bytes):
    """Counts the comparisons made against it."""

    calls = 0

    def startswith(self, *args):
        Counting.calls += 1
        return super().startswith(*args)

    def endswith(self, *args):
        Counting.calls += 1
        return super().endswith(*args)


def test_the_number_of_comparisons_grows_with_the_logarithm_of_the_size():
    counts = []
    for size in (1 << 12, 1 << 16, 1 << 20):
        old = Counting(b"x" * size)
        Counting.calls = 0
        assert make_splice(old, b"x" * (size // 2) + b"!" + b"x" * (size // 2 - 1)) is not None
        counts.append(Counting.calls)
    assert counts[-1] <= 4 * 20
    assert counts[2] - counts[1] <= counts[1]


def test_a_splice_for_other_bytes_is_noticed():
    new = OLD.replace(b"250", b"xyz")
    splice = make_splice(OLD, new)
    assert splice is not None
    for other in (OLD.replace(b"some words", b"SOME WORDS"), OLD[:-1], OLD + b" ", b""):
        with pytest.raises(CorruptRecordError):
            apply_splice(other, splice)


@pytest.mark.parametrize(
    "splice", [(-1, 0, b"", 0), (0, -1, b"", 0), (3, 3, b"", 0), (9, 0, b"", 0), (0, 0, b"x", 0)]
)
def test_a_forged_splice_is_refused(splice):
    with pytest.raises(CorruptRecordError):
        apply_splice(b"12345", splice)
