"""The published systems that can be converted: one file and one line of this registry each."""

from vesal.weights.convert.one_file import OneFileSystem
from vesal.weights.convert.system import System
from vesal.weights.convert.systems.biomedparse_v import BIOMEDPARSE
from vesal.weights.convert.systems.medal_s import MEDAL_S
from vesal.weights.convert.systems.sat import SAT
from vesal.weights.convert.systems.segvol import SEGVOL

SYSTEMS: dict[str, System | OneFileSystem] = {
    MEDAL_S.name: MEDAL_S,
    SAT.name: SAT,
    BIOMEDPARSE.name: BIOMEDPARSE,
    SEGVOL.name: SEGVOL,
}
"""By the name that the command takes."""
