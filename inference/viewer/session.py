"""What a page is about: the case, its labels, and the run of further prompts, one at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vesal.inference.data.case import Case
from vesal.inference.data.errors import UsageError, VesalError
from vesal.inference.data.orientation import AxisCodes
from vesal.inference.data.user_prompts import UserPrompts
from vesal.inference.families.contract import Capabilities
from vesal.inference.prompts.case_meaning import settle
from vesal.inference.timing.progress import WindowProgress
from vesal.inference.viewer.events import Events
from vesal.inference.viewer.grid import PageGrid
from vesal.inference.viewer.labels import Labels
from vesal.inference.viewer.windows import modality_of_case, shown_image

if TYPE_CHECKING:
    from vesal.inference.api import Model

log = logging.getLogger("vesal")


class BusyError(UsageError):
    """A run is under way; the page may ask again when it has ended."""


@dataclass(frozen=True)
class Wanted:
    """What a page asks to run."""

    texts: tuple[str, ...]
    """Sentences; one that is empty has boxes or points."""
    user: UserPrompts = UserPrompts()
    """Boxes and points on the page, of prompt 1."""


class Session:
    """One case on one page. Requests come from several threads."""

    def __init__(
        self,
        case: Case,
        open_model: Callable[[], Model],
        can: Capabilities,
        weights: str,
        events: Events,
        file_codes: AxisCodes | None = None,
    ) -> None:
        """``open_model`` is called at the first run; ``can`` is known without it; see `PageGrid.of`."""
        self.case, self.can, self.weights, self.events = case, can, weights, events
        self.grid = PageGrid.of(case, file_codes)
        d, h, w = case.image.shape
        self.labels = Labels((d, h, w), case.spacing_dhw_mm)
        self.modality = modality_of_case(case)
        self._image, self._windows, self._unit = shown_image(case, self.modality)
        self._open_model = open_model
        self._model: Model | None = None
        self._busy = threading.Lock()
        self._stopped = threading.Event()
        self._progress: dict[str, Any] | None = None

    def image(self) -> bytes:
        """The image as a file for the page."""
        return self.grid.nifti(self._image)

    def label_map(self) -> bytes:
        """The labels as a file for the page."""
        return self.grid.nifti(self.labels.map)

    def state(self) -> dict[str, Any]:
        """All that the page shows beside the two files, as plain values."""
        return {
            "name": self.case.name,
            "shape": self.grid.shape,
            "spacing": self.grid.spacing_dhw_mm,
            "fromFile": {"order": self.grid.file_way.order, "reversed": self.grid.file_way.reversed},
            "sidesKnown": self.grid.known,
            "modality": self.modality,
            "unit": self._unit,
            "windows": self._windows,
            "notes": self.case.notes,
            "weights": self.weights,
            "can": {"boxes": self.can.boxes, "points": self.can.points, "unnamed": self.can.unnamed},
            "suggestions": [text for text in self.case.sentences.values() if text],
            "labels": self.labels.on_page(self.grid),
            "version": self.labels.version,
            "run": self._progress,
        }

    def start(self, wanted: Wanted) -> None:
        """Begin a run; events tell how it goes. Raises BusyError while another one is under way."""
        if not self._busy.acquire(blocking=False):
            raise BusyError("a run is under way; wait until it has ended.")
        self._tell({"kind": "progress", "stage": "begin", "windows": 0, "planned": 0, "seconds": 0.0})
        threading.Thread(target=self._work, args=(wanted,), daemon=True).start()

    def stop(self) -> None:
        """End a run at its next window."""
        self._stopped.set()

    def _work(self, wanted: Wanted) -> None:
        end: dict[str, Any] = {"kind": "error", "error": "the run ended without a result"}
        try:
            end = {"kind": "done", "added": self._run(wanted)}
        except VesalError as error:
            end["error"] = f"{type(error).__name__}: {error}"
        except Exception as error:
            log.exception("the run failed")
            end["error"] = f"{type(error).__name__}: {error}"
        finally:
            self._progress = None
            self._busy.release()
            self.events.publish(end)

    def _run(self, wanted: Wanted) -> list[int]:
        """Run prompts and add their labels; return these labels' ids."""
        if self._model is None:
            self._tell({"kind": "progress", "stage": "weights", "windows": 0, "planned": 0, "seconds": 0.0})
            self._model = self._open_model()
        model = self._model
        case = replace(
            self.case,
            sentences=dict(enumerate(wanted.texts, 1)),
            instance=False,
            user=self.grid.user_in_case(wanted.user),
        )
        prompts, choice = model.understand(case, self._modality_for(case))
        case = settle(case, prompts, choice, self.can.stored_numbers)
        done = model.segment_case(case, prompts, progress=self._on_window)
        told = [*done.fallbacks, *done.notes]
        added = []
        for prompt in prompts:
            row = done.prompts[prompt.id]
            mask = done.orientation.back(done.mask(prompt.id))
            why = [] if row.voxels else [row.why if row.covered is False else "nothing was found"]
            name = prompt.target or prompt.text or "marked"
            added.append(self.labels.add(name, prompt.text, mask, "; ".join([*why, *told])).id)
        return added

    def _modality_for(self, case: Case) -> str | None:
        """The modality that the case's own sentences gave, where the new ones may not repeat it."""
        return self.modality if any(self.case.sentences.values()) else None

    def _on_window(self, progress: WindowProgress) -> bool:
        self._tell(
            {
                "kind": "progress",
                "stage": progress.stage,
                "windows": progress.windows,
                "planned": progress.planned,
                "seconds": progress.seconds,
            }
        )
        return not self._stopped.is_set()

    def _tell(self, event: dict[str, Any]) -> None:
        self._progress = event
        self.events.publish(event)
