"""Arrays of text as Python's text: numpy makes strings of numbers that are no characters."""

from __future__ import annotations

from typing import Any

import numpy as np

LAST_CHARACTER, REPLACEMENT = 0x10FFFF, 0xFFFD
"""Of Unicode, and what stands for what is none."""


def plain_list(array: np.ndarray, strict: bool = False) -> Any:
    """``array.tolist()`` of any shape; in text, what is no character becomes U+FFFD, and bytes are UTF-8.

    Of `strict` bytes, those that are not UTF-8 raise UnicodeDecodeError.
    """
    if array.dtype.kind == "S":
        return (
            np.char.decode(array, "utf-8", "strict" if strict else "replace").tolist()
            if array.size
            else array.tolist()
        )
    if array.dtype.kind != "U" or not array.size:
        return array.tolist()
    text = np.array(array.astype(array.dtype.newbyteorder("=")), order="C", ndmin=1)
    codes = text.view(np.uint32)
    codes[codes > LAST_CHARACTER] = REPLACEMENT
    return text.reshape(array.shape).tolist()
