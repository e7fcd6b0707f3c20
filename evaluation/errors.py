"""Named errors of the evaluation: what came, what was wanted, what to do."""

from __future__ import annotations

from vesal.inference.data.errors import CaseError, VesalError


class EvaluationError(VesalError, ValueError):
    """Something about the whole run: folders, options, tools."""


class PredictionError(CaseError):
    """A prediction is missing or cannot be scored; its case becomes a row with the reason."""


class GroundTruthError(CaseError):
    """A ground truth is missing or cannot be used; its case becomes a row with the reason."""


class OfficialScriptError(CaseError):
    """The organizers' script would raise on this case, and lose every later case of the team."""
