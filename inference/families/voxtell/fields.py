"""What a manifest of the family ``voxtell`` holds besides what all do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from vesal.inference.planning.manifest import FileName

Count = Annotated[int, Meta(ge=1)]
Sides = tuple[Count, Count, Count]
Share = Annotated[float, Meta(ge=0, le=1)]


class Graphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graph files, of ``weights.convert.voxtell_graphs``."""

    window: FileName
    """A window to what all prompts share of it."""
    text: FileName
    """Text embeddings to queries."""
    prompt: FileName
    """One query on an encoded window to logits."""


class NetworkFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """What the conversion found out about the network; by default the released one's."""

    window_dhw: Sides = (192, 192, 192)
    """Voxels of a window, (D, H, W): the stored positions are for no other."""
    text: Count = 2560
    """Numbers of a text embedding."""
    precision: Literal["bf16", "fp32"] | None = None
    """To run it in; None leaves it to the runtime."""
    # What follows only people read.
    parameters: int | None = None
    stored: str | None = None
    why: str | None = None
    agreement: Any = None
    measured_dhw: Sides | None = None
    int8: Any = None
    bank: Any = None


class VoxTellFields(Struct, frozen=True, forbid_unknown_fields=True):
    """The family's own fields."""

    graphs: Graphs
    network: NetworkFacts = NetworkFacts()
    label_vectors: FileName | None = None
    """npz with a vector of the engine's sentence encoder for each label of the bank; None: a sentence that is
    not in the bank is refused."""
    min_similarity: Share = 0.85
    """Cosine of a sentence and the nearest label of the bank from which that label is asked instead."""
    presence_logit: float | None = None
    """A slice whose largest logit is at most this does not show the target; None: off, as released."""
    overlaps: Literal["largest", "nested", "later"] = "largest"
    """Who has a voxel that several prompts claim: the largest logit; with `nested` in scans of one's own the
    smaller of two prompts of which one lies in the other; or the later prompt as the released code has it."""
    half_weights: bool = False
    """Whether the windows' weights are rounded to 16 bits, as released; sums have 32 bits either way."""
    rung_mm: Annotated[float, Meta(ge=0)] = 1.5
    """Spacing that axes finer than it are brought to where time is short, after the wider step of windows;
    0: none but what the common ladder has."""
