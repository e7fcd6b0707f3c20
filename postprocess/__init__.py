"""Filters on label maps and probabilities: pure functions on arrays, no model, no file."""

from vesal.postprocess.components import Components, filter_class
from vesal.postprocess.edges import Edges, cut_along_edges
from vesal.postprocess.fill_holes import FillHoles, fill_holes
from vesal.postprocess.instances import MAX_INSTANCES, Instances, split_instances
from vesal.postprocess.merging import merge_classes
from vesal.postprocess.presence import Presence, present_slices
from vesal.postprocess.registry import RULES
from vesal.postprocess.round_objects import RoundObjects, cut_round_objects
from vesal.postprocess.seeded_watershed import SeededWatershed, cut_by_seeds
from vesal.postprocess.slice_nms import SliceNms, slice_nms
from vesal.postprocess.slices import Slices, kept_slices
from vesal.postprocess.smooth import Smooth, smooth
from vesal.postprocess.specks import Specks, remove_small, remove_specks

__all__ = [
    "MAX_INSTANCES",
    "RULES",
    "Components",
    "Edges",
    "FillHoles",
    "Instances",
    "Presence",
    "RoundObjects",
    "SeededWatershed",
    "SliceNms",
    "Slices",
    "Smooth",
    "Specks",
    "cut_along_edges",
    "cut_by_seeds",
    "cut_round_objects",
    "fill_holes",
    "filter_class",
    "kept_slices",
    "merge_classes",
    "present_slices",
    "remove_small",
    "remove_specks",
    "slice_nms",
    "smooth",
    "split_instances",
]
