"""What a manifest of the family ``segvol`` holds besides what all do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from vesal.inference.planning.manifest import FileName

Count = Annotated[int, Meta(ge=1)]
Sides = tuple[Count, Count, Count]

TEMPLATE = "A computerized tomography of a {name}."
"""Of the released code, full stop included; the paper prints it without one."""


class Graphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graph files."""

    image: FileName
    """A window to its embedding."""
    text: FileName
    """Token ids to vectors."""
    decoder: FileName
    """Both, with boxes and points, to logits."""


class NetworkFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """What the conversion found out about the network; by default the released one's."""

    window_dhw: Sides = (32, 256, 256)
    """Voxels of a window, (D, H, W)."""
    patch_dhw: Sides = (4, 16, 16)
    """Voxels of a patch."""
    channels: Count = 768
    """Of an embedding and a text."""
    stride_dhw: Sides = (1, 4, 4)
    """Voxels of the window for one of the logits that the decoder tells."""
    words: Annotated[int, Meta(ge=3)] = 77
    """Places of the text encoder, both marks included."""
    prompts_at_once: Count = 1
    """Prompts that are decoded at once: each more takes 120 MB, and next to no time less."""
    precision: Literal["bf16", "fp32"] | None = None
    """To run it in; None leaves it to the runtime."""
    # What follows only people read.
    vocabulary: int | None = None
    parameters: int | None = None
    stored: str | None = None
    why: str | None = None
    agreement: Any = None


class SegVolFields(Struct, frozen=True, forbid_unknown_fields=True):
    """The family's own fields; the defaults are what the released code does, but for ``kept_windows``."""

    graphs: Graphs
    tokenizer: FileName
    network: NetworkFacts = NetworkFacts()
    template: Annotated[str, Meta(pattern=r"\{name\}")] = TEMPLATE
    """Sentence in which the network is asked for a `{name}`."""
    paper: bool = False
    """Whether what the released demo means to do, and does not, is done: volumes whose file says how they lie
    are turned to right, anterior, superior."""
    windows: Literal["own", "shared"] = "own"
    """Where zoom-in lays its windows: over each prompt's own region, as released, or over regions that are
    rounded outwards to a grid of half windows, so that all prompts of a case share them."""
    extra_points: Annotated[int, Meta(ge=0)] = 4
    """Points of a zoom-in window beside the first one."""
    kept_windows: Annotated[int, Meta(ge=1)] = 32
    """Encoded windows that are kept for other prompts of the case, 6.3 MB each; the released code encodes
    each window again for every prompt."""
