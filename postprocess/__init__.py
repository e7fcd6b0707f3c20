"""Filters on label maps and probabilities: pure functions on arrays, no model, no file."""

from vesal.postprocess.components import Components, filter_class
from vesal.postprocess.fill_holes import FillHoles, fill_holes
from vesal.postprocess.instances import MAX_INSTANCES, Instances, split_instances
from vesal.postprocess.presence import Presence, present_slices
from vesal.postprocess.registry import RULES
from vesal.postprocess.slice_nms import SliceNms, slice_nms
from vesal.postprocess.smooth import Smooth, smooth
from vesal.postprocess.specks import remove_specks

__all__ = [
    "MAX_INSTANCES",
    "RULES",
    "Components",
    "FillHoles",
    "Instances",
    "Presence",
    "SliceNms",
    "Smooth",
    "fill_holes",
    "filter_class",
    "present_slices",
    "remove_specks",
    "slice_nms",
    "smooth",
    "split_instances",
]
