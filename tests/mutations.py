"""Damage to files, as transfers, disks and other people's programs do it; seeded."""

import numpy as np


def mutations(content, n, seed):
    """Yield n damaged copies of bytes: cut, with bytes flipped or overwritten, fields swapped,
    lengths made extreme, parts left out or repeated."""
    rng = np.random.default_rng(seed)
    kinds = (cut, flip, overwrite, swap_fields, set_extreme, leave_out, repeat)
    for number in range(n):
        yield kinds[number % len(kinds)](bytearray(content), rng)


def cut(content, rng):
    return bytes(content[: rng.integers(len(content))])


def flip(content, rng):
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        content[place] ^= 1 << rng.integers(8)
    return bytes(content)


def overwrite(content, rng):
    start, length = rng.integers(len(content)), rng.integers(1, 65)
    content[start : start + length] = rng.bytes(len(content[start : start + length]))
    return bytes(content)


def swap_fields(content, rng):
    """Two fields of 2 or 4 bytes in the first kilobyte, where tags are, change places."""
    size = int(rng.choice([2, 4]))
    end = max(min(len(content), 1024) - size, 1)
    one, other = (int(place) for place in rng.integers(end, size=2))
    first, second = content[one : one + size], content[other : other + size]
    content[one : one + size], content[other : other + size] = second, first
    return bytes(content)


def set_extreme(content, rng):
    """A field of 2 or 4 bytes in the first kilobyte becomes its smallest or largest value."""
    size = int(rng.choice([2, 4]))
    place = int(rng.integers(max(min(len(content), 1024) - size, 1)))
    value = [b"\x00" * size, b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), b"\x80" * size]
    content[place : place + size] = value[rng.integers(4)]
    return bytes(content)


def leave_out(content, rng):
    start, length = rng.integers(len(content)), rng.integers(1, 257)
    del content[start : start + length]
    return bytes(content)


def repeat(content, rng):
    start, length = rng.integers(len(content)), rng.integers(1, 257)
    return bytes(content[:start] + content[start : start + length] + content[start:])
