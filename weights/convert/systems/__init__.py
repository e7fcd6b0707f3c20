"""The published systems that can be converted: one file and one line of this registry each."""

from vesal.weights.convert.backbone import BackboneSystem
from vesal.weights.convert.closed_list import ClosedListSystem
from vesal.weights.convert.one_file import OneFileSystem
from vesal.weights.convert.published_folder import FolderSystem
from vesal.weights.convert.system import System
from vesal.weights.convert.systems.biomedparse_v import BIOMEDPARSE
from vesal.weights.convert.systems.medal_s import MEDAL_S
from vesal.weights.convert.systems.pumit import PUMIT
from vesal.weights.convert.systems.pumit_segmenters import PUMIT_BTCV, PUMIT_CHAOS
from vesal.weights.convert.systems.sat import SAT
from vesal.weights.convert.systems.segvol import SEGVOL
from vesal.weights.convert.systems.voxtell import VOXTELL

SYSTEMS: dict[str, System | OneFileSystem | FolderSystem | BackboneSystem | ClosedListSystem] = {
    MEDAL_S.name: MEDAL_S,
    SAT.name: SAT,
    BIOMEDPARSE.name: BIOMEDPARSE,
    SEGVOL.name: SEGVOL,
    VOXTELL.name: VOXTELL,
    PUMIT.name: PUMIT,
    PUMIT_BTCV.name: PUMIT_BTCV,
    PUMIT_CHAOS.name: PUMIT_CHAOS,
}
"""By the name that the command takes."""
