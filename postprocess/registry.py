"""Rules by the name that a profile gives them: a line a rule."""

from __future__ import annotations

from vesal.postprocess.components import Components
from vesal.postprocess.edges import Edges
from vesal.postprocess.fill_holes import FillHoles
from vesal.postprocess.instances import Instances
from vesal.postprocess.presence import Presence
from vesal.postprocess.round_objects import RoundObjects
from vesal.postprocess.rule import Rule
from vesal.postprocess.seeded_watershed import SeededWatershed
from vesal.postprocess.slice_nms import SliceNms
from vesal.postprocess.slices import Slices
from vesal.postprocess.smooth import Smooth
from vesal.postprocess.specks import Specks

RULES: dict[str, type[Rule]] = {
    "presence": Presence,
    "slice_nms": SliceNms,
    "slices": Slices,
    "components": Components,
    "fill_holes": FillHoles,
    "smooth": Smooth,
    "specks": Specks,
    "round_objects": RoundObjects,
    "edges": Edges,
    "seeded_watershed": SeededWatershed,
    "instances": Instances,
}
