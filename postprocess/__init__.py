"""Filters on label maps and probabilities: pure functions on arrays, no model, no file."""

from vesal.postprocess.components import ComponentRules, filter_class, filter_components, keep_components
from vesal.postprocess.instances import MOST_INSTANCES, split_instances
from vesal.postprocess.slices import apply_presence, empty_absent_slices, present_slices, slice_nms

__all__ = [
    "MOST_INSTANCES",
    "ComponentRules",
    "apply_presence",
    "empty_absent_slices",
    "filter_class",
    "filter_components",
    "keep_components",
    "present_slices",
    "slice_nms",
    "split_instances",
]
