"""Family ``spad``: text prompts on a SPAD-ViT, a graph for each of five degrees of anisotropy.

All but the number of degrees is nano's: what a graph takes and gives, spatial prompts, presence.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import Struct

from vesal.inference.families.bank import read_bank
from vesal.inference.families.contract import Capabilities, Loader
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.nano import CAPABILITIES as OF_NANO
from vesal.inference.families.nano import NanoModel
from vesal.inference.planning.manifest import FileName
from vesal.inference.planning.profile import Profile

CAPABILITIES = replace(OF_NANO, highest_degree=4)


class SpadGraphs(Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name[-1]):
    """Graph files by degree of anisotropy: `"0"` to `"4"` in the manifest; the last serves higher ones."""

    degree0: FileName
    degree1: FileName
    degree2: FileName
    degree3: FileName
    degree4: FileName


class SpadFields(Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest of this family holds besides what all do."""

    graphs: SpadGraphs


class SpadModel(NanoModel):
    """See the module's docstring."""

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """See ``contract.FamilyType``."""
        profile.read_family(SpadFields)
        profile.bank_path()
        return CAPABILITIES

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> SpadModel:
        """Read the bank; a graph is read when the first view of its degree comes. Raises ProfileError."""
        graphs = profile.read_family(SpadFields).graphs
        files = graphs.degree0, graphs.degree1, graphs.degree2, graphs.degree3, graphs.degree4
        loaded = {degree: LazyGraph(profile.file(name), runtime) for degree, name in enumerate(files)}
        vectors, _ = read_bank(profile.bank_path())
        return cls(loaded, vectors, profile)

    @property
    def capabilities(self) -> Capabilities:
        """What the network can do."""
        return CAPABILITIES
