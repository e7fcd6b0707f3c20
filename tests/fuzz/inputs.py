"""Made inputs, sound and damaged; the same for the same generator of random numbers."""

from __future__ import annotations

import io
import json
import pickle
import time
import warnings
import zipfile
from typing import Any

import numpy as np

Rng = np.random.Generator

making = {"seconds": 0.0}
"""Of the processors, for making inputs: to pack an archive is slow, and not what is tried."""

WORDS = (
    "liver",
    "left",
    "right",
    "kidney",
    "in",
    "CT",
    "MR",
    "of",
    "the",
    "no",
    "spleen",
    "cell",
    "lesion",
    "and",
)
ODD_TEXT = (
    "",
    " ",
    "\0",
    "\n",
    "\u0345" * 40,
    "\ud800",
    "\u202e",
    "ﬃ",
    "é" * 300,
    "x" * 3000,
    "0",
    "-1",
    "1e9",
    "∞",
)
TYPES = ("u1", "i1", "u2", ">i2", "i4", "u8", "i8", "f2", "f4", ">f8", "?", "c8", "S3", "U2", "M8[s]", "O")
NUMBERS = (0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, float("nan"), float("inf"), 1e308, True, None)


def pick(rng: Rng, choices: Any) -> Any:
    """One of a sequence, as it is."""
    return choices[int(rng.integers(len(choices)))]


def sentence(rng: Rng) -> str:
    """Words in any order, now and then an odd text among them."""
    words = [pick(rng, WORDS) for _ in range(int(rng.integers(0, 9)))]
    if rng.random() < 0.3:
        words.insert(int(rng.integers(len(words) + 1)), pick(rng, ODD_TEXT))
    if rng.random() < 0.1:
        words.append("".join(map(chr, rng.integers(1, 0xD7FF, 20))))
    return pick(rng, (" ", " ", " ", "_", "-", "")).join(words)


def value(rng: Rng, depth: int = 0) -> Any:
    """Plain values within one another."""
    kind = int(rng.integers(7 if depth < 4 else 3))
    if kind < 3:
        return (sentence(rng), pick(rng, NUMBERS), pick(rng, ODD_TEXT))[kind]
    count = int(rng.integers(0, 5))
    if kind < 5:
        return [value(rng, depth + 1) for _ in range(count)]
    return {key(rng): value(rng, depth + 1) for _ in range(count)}


def key(rng: Rng) -> Any:
    """Of a dict of prompts, mostly a sound one."""
    odd = (*ODD_TEXT, "instance_label", "modality", "Instance_Label", 3, 2.0, None, "65536", "01", " 2 ")
    return str(int(rng.integers(1, 9))) if rng.random() < 0.6 else pick(rng, odd)


def prompts(rng: Rng) -> Any:
    """A dict of prompts, now and then anything."""
    if rng.random() < 0.2:
        return value(rng)
    found = {str(n): sentence(rng) for n in range(1, int(rng.integers(1, 6)))}
    if rng.random() < 0.3:
        found[key(rng)] = value(rng, 2)
    return found | {"instance_label": pick(rng, (0, 1, 0, 1, "1", 2, None, [0]))}


def shape(rng: Rng, axes: int = 3) -> tuple[int, ...]:
    """Of a small volume, with sides of one voxel, and long ones."""
    sides = [pick(rng, (1, 1, 2, 3, 5, 8, 13, 21, 40)) for _ in range(axes)]
    if axes and rng.random() < 0.15:
        sides = [min(side, 3) for side in sides]
        sides[int(rng.integers(axes))] = pick(rng, (300, 5000, 100_000))
    return tuple(sides)


def volume(rng: Rng, sides: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers of any type and order of axes, with padding or NaN now and then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numbers = rng.normal(pick(rng, (0, 100, -500)), pick(rng, (0, 1, 60, 2000)), sides)
        if rng.random() < 0.2:
            numbers[rng.random(sides) < 0.3] = pick(rng, (-2048, -32768, np.nan, np.inf, 0))
        found = numbers.astype(np.int64).astype(dtype) if dtype in ("M8[s]", "u8") else numbers.astype(dtype)
    return np.asfortranarray(found) if rng.random() < 0.2 else found


def case(rng: Rng) -> bytes:
    """An npz in the challenge's format, sound or with odd arrays."""
    axes = pick(rng, (3, 3, 3, 3, 3, 3, 2, 4, 1, 0))
    sides = shape(rng, axes)
    arrays: dict[str, Any] = {"imgs": volume(rng, sides, pick(rng, TYPES) if rng.random() < 0.6 else "u1")}
    lengths = pick(
        rng, ([0.8, 0.8, 3], [1e-4, 1, 1], [-1, 1, 2], [1], [[1, 1, 1]], [0, 1, 1], [1e300, 1, 1], [])
    )
    arrays["spacing"] = np.array(
        lengths if rng.random() < 0.9 else value(rng), object if rng.random() < 0.1 else None
    )
    content = prompts(rng)
    text = json.dumps(content, default=str, skipkeys=True)
    arrays["text_prompts"] = np.array(
        text if rng.random() < 0.3 else content, None if rng.random() < 0.2 else object
    )
    if rng.random() < 0.05:
        arrays[pick(rng, ("text_prompts", "spacing"))] = np.frombuffer(
            rng.bytes(48), pick(rng, ("<U4", ">U1", "S4"))
        )
    if rng.random() < 0.3:
        arrays["boxes"] = np.array(value(rng), object)
    if rng.random() < 0.3:
        arrays["prev_pred"] = rng.integers(0, 3, shape(rng) if rng.random() < 0.3 else sides, np.int64)
    for name in [name for name in arrays if rng.random() < 0.05]:
        del arrays[name]
    out = io.BytesIO()
    pick(rng, (np.savez, np.savez_compressed))(out, **arrays)
    return out.getvalue()


def marks(rng: Rng) -> Any:
    """Boxes or clicks in a notation of the interactive track, with odd values among them."""

    def number() -> Any:
        return pick(rng, NUMBERS) if rng.random() < 0.1 else int(rng.integers(-2, 12))

    def row(count: int) -> Any:
        return [number() for _ in range(count)] if rng.random() < 0.95 else value(rng, 3)

    def entry() -> Any:
        names = ("z_min", "z_max", "z_mid", "z_mid_x_min", "z_mid_x_max", "z_mid_y_min", "z_mid_y_max")
        kinds: tuple[Any, ...] = (
            {name: number() for name in names if rng.random() < 0.98},
            {"fg": [row(3) for _ in range(2)], "bg": pick(rng, ([], None, [row(3)]))},
            {"box": row(6), "points": [row(4)]},
            [row(6)],
            row(pick(rng, (3, 4, 6))),
            None,
        )
        return pick(rng, kinds)

    entries = [entry() for _ in range(int(rng.integers(0, 4)))]
    if rng.random() < 0.3:
        return {key(rng): each for each in entries}
    return entry() if rng.random() < 0.2 else entries


def interactive_case(rng: Rng) -> bytes:
    """An npz of the interactive track."""
    sides = shape(rng)
    arrays: dict[str, Any] = {"imgs": volume(rng, sides, "u1"), "spacing": np.ones(3)}
    for name in ("boxes", "clicks", "points"):
        if rng.random() < 0.6:
            arrays[name] = np.empty((), object)
            arrays[name][()] = marks(rng)
    if rng.random() < 0.4:
        arrays["prev_pred"] = rng.integers(0, 4, shape(rng) if rng.random() < 0.2 else sides, np.uint8)
    if rng.random() < 0.2:
        arrays["text_prompts"] = np.array(prompts(rng), object)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def damaged_case(rng: Rng) -> bytes:
    """A case as `case` makes it, often with damaged bytes, in the archive or within a member."""
    started = time.process_time()
    try:
        return _damaged_case(rng)
    finally:
        making["seconds"] += time.process_time() - started


def _damaged_case(rng: Rng) -> bytes:
    while True:
        try:
            content = interactive_case(rng) if rng.random() < 0.3 else case(rng)
            break
        except (ValueError, TypeError, OverflowError, UnicodeEncodeError):  # numpy cannot save all of these
            continue
    kind = rng.random()
    if kind < 0.3:
        return content
    return damaged(rng, content) if kind < 0.6 else with_damaged_member(rng, content)


def with_damaged_member(rng: Rng, archive: bytes) -> bytes:
    """The archive with one member damaged, and right checksums: what is within it is reached."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        for number, name in enumerate(names):
            member = old.read(name)
            new.writestr(
                name, damaged(rng, member) if rng.random() < 1 / len(names) or number == 99 else member
            )
    return out.getvalue()


def damaged(rng: Rng, content: bytes) -> bytes:
    """Bytes that are changed, cut, moved or repeated."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if not data:
            break
        start, stop = sorted(int(at) for at in rng.integers(0, len(data) + 1, 2))
        kind = int(rng.integers(6))
        if kind == 0:
            data[min(start, len(data) - 1)] = int(rng.integers(256))
        elif kind == 1:
            for at in rng.integers(0, len(data), 8):
                data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del data[start : min(stop, start + 40)]
        elif kind == 3:
            del data[start:]
        elif kind == 4:
            data[start:start] = data[start : min(stop, start + 200)]
        else:
            data[start : start + 4] = pick(
                rng, (b"\xff\xff\xff\xff", b"\0\0\0\0", b"PK\x03\x04", b"\x7f\xff\xff\xff")
            )
    return bytes(data)


def pickled(rng: Rng) -> bytes:
    """A pickle of prompts or of arrays, of any protocol, often damaged."""
    content: Any = prompts(rng)
    if rng.random() < 0.4:
        content = np.array(content, object)
    elif rng.random() < 0.3:
        content = [np.float32(1), np.arange(6).reshape(2, 3), np.array(["liver", "x"])]
    found = pickle.dumps(content, int(rng.integers(0, 6)))
    return found if rng.random() < 0.2 else damaged(rng, found)
