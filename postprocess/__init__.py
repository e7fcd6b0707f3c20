"""Filters on label maps and probabilities: pure functions on arrays, no model, no file."""

from vesal.postprocess.components import ComponentRules, filter_class
from vesal.postprocess.instances import MAX_INSTANCES, split_instances
from vesal.postprocess.slices import present_slices, slice_nms
from vesal.postprocess.specks import remove_specks

__all__ = [
    "MAX_INSTANCES",
    "ComponentRules",
    "filter_class",
    "present_slices",
    "remove_specks",
    "slice_nms",
    "split_instances",
]
