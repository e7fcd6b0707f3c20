"""From what the engine gives for an own scan to what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vesal.inference.io.file_axes import axes_of_lengths
from vesal.inference.result import PromptResults, Result
from vesal.inference.runner.case_record import CaseRecord
from vesal.inference.runner.own_output import Found, OwnOutput

if TYPE_CHECKING:
    from vesal.inference.api import Model
    from vesal.inference.stages.segmentation import Segmentation


def write_own_result(record: CaseRecord, result: Segmentation, model: Model) -> None:
    """Write the label map of a case, and what goes with it."""
    case = record.case
    assert case is not None
    assert isinstance(record.output, OwnOutput)
    if record.output.header is None:  # an npz tells lengths alone, which other formats keep
        d, h, w = case.image.shape
        record.output.header = axes_of_lengths(case.name, (d, h, w), case.spacing_dhw_mm)

    def whole() -> Result:
        # Only now: what is counted must be what the file holds.
        prompts = PromptResults(list(result.prompts.values()), by_id=True)
        return Result(result.labels, prompts, {}, result, case)

    record.output.write_found(
        Found(
            result.labels,
            record.prompts,
            case.instance,
            mask=lambda id_: whole().mask(id_),
            probability=lambda id_: whole().probability(id_),
            results=lambda: result.prompts,
            modality=record.modality.modality if record.modality else None,
        )
    )
