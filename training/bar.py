"""Progress bars by tqdm; without it a loop says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

try:
    from tqdm import tqdm
except ImportError:

    class tqdm:  # type: ignore[no-redef]  # noqa: N801
        """What the training uses of tqdm's class, with nothing to be seen."""

        def __init__(self, iterable: Iterable[Any] = (), **_: Any) -> None:
            self._iterable = iterable
            self.n: float = 0

        def __iter__(self) -> Iterator[Any]:
            return iter(self._iterable)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, amount: float = 1) -> None:
            """Count on."""
            self.n += amount

        def set_postfix(self, **_: Any) -> None:
            """Nothing is shown."""


__all__ = ["tqdm"]
