"""The output of one case: a valid file from the start, replaced whenever there is a better result."""

import logging
import threading
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import CaseAbandoned, LabelMapError
from vesal.inference.io.label_writer import write_label_map

log = logging.getLogger("vesal")

UNKNOWN_SHAPE = (1, 1, 1)
"""Shape of the zeros for a case of unknown shape: the scorer still finds a readable file."""

NOTHING, COARSE, REFINED_IN_PART = "nothing", "a coarse result", "a coarse result, refined in part"


class CaseOutput:
    """A case's output file; `written` describes its content."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet, and the volume's shape is unknown."""
        self.path = path
        self.shape: tuple[int, ...] | None = None
        self._header: object = None
        self.written = NOTHING
        self._writing = threading.Lock()
        self._closed = False

    def write_zeros(self, shape: tuple[int, ...] | None, header: object = None) -> None:
        """Write zeros of the volume's shape, or of `UNKNOWN_SHAPE` where that is None.

        Nothing happens where something is written already. `header` is the reader's header
        (`formats.CaseReader`). Never raises an error, there is no further
        fallback: see the log and `written`.
        """
        with self._writing:
            self._check_open()
            if self.written != NOTHING:
                return
            self.shape, self._header = shape, header
            self._zeros()

    def write_so_far(self, labels: np.ndarray) -> None:
        """Write what is known so far, (D,H,W) whole numbers: the coarse result, then refined in part."""
        self._write(labels, REFINED_IN_PART if self.written in (COARSE, REFINED_IN_PART) else COARSE)

    def write_labels(self, labels: np.ndarray) -> None:
        """Write the result, (D,H,W) whole numbers."""
        self._write(labels, "the labels")

    def close(self, wait_s: float) -> None:
        """Refuse further writes, after waiting up to `wait_s` for one that is under way.

        A longer one may still replace the file afterwards, by a complete one.
        """
        waited = self._writing.acquire(timeout=max(0.0, wait_s))
        self._closed = True
        if waited:
            self._writing.release()

    def write_missing_zeros(self, shape: tuple[int, ...] | None) -> None:
        """Write zeros into a closed output where nothing was written."""
        if self.written == NOTHING:
            self.shape = shape
            self._zeros()

    def _zeros(self) -> None:
        for shape in (self.shape, UNKNOWN_SHAPE):
            if shape is None:
                continue
            try:
                write_label_map(self.path, np.broadcast_to(np.uint8(0), shape), self._header)
            except (OSError, ValueError, MemoryError) as error:
                log.error("%s: zeros of shape %s cannot be written: %s", self.path, shape, error)
                continue
            known = shape == self.shape
            self.written = (
                "zeros" if known else f"zeros of shape {shape}: the volume's own shape could not be had"
            )
            return

    def checked(self, labels: np.ndarray) -> np.ndarray:
        """(D,H,W) of the volume's shape, axes of one voxel put back. Raises LabelMapError for another one."""
        if self.shape is not None and [n for n in self.shape if n > 1] == [n for n in labels.shape if n > 1]:
            labels = labels.reshape(self.shape)
        if self.shape is not None and labels.shape != self.shape:
            raise LabelMapError(
                f"The engine gave labels of shape {labels.shape}; the volume's {self.shape} is wanted."
            )
        return labels

    def _write(self, labels: np.ndarray, what: str) -> None:
        """Write (D,H,W) labels, unless their shape is not the volume's."""
        labels = self.checked(labels)
        with self._writing:
            self._check_open()
            write_label_map(self.path, labels, self._header)
            self.written = what

    def _check_open(self) -> None:
        if self._closed:
            raise CaseAbandoned
