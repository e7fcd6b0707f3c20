"""What a manifest of the family ``biomedparse-v`` holds besides what all do."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from vesal.inference.data.cross_slice import CrossSlice
from vesal.inference.geometry.dual_rate import DualRate
from vesal.inference.planning.manifest import FileName

Count = Annotated[int, Meta(ge=1)]

BOLTZMANN: Final = "boltzmann"
WHOLE: Final = "whole"
SINGLE: Final = "single"


class Graphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graph files; one decoder at least."""

    image: FileName
    """Slices to what all prompts share of them."""
    text: FileName
    """Token ids to words."""
    decoder: FileName | None = None
    """Both to masks, with Boltzmann sampling."""
    decoder_full: FileName | None = None
    """The same with full attention."""


class NetworkFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """What the conversion found out about the network; by default the released one's."""

    heads: Count = 8
    """Of the decoder's attention."""
    layers: Count = 9
    """Of the decoder."""
    queries: Count = 16
    """Of the decoder."""
    multiple: Count = 32
    """Sides of a slice are multiples of this."""
    cross_slice: CrossSlice | None = None
    """What its graphs were converted with."""
    words: Annotated[int, Meta(ge=3)] = 77
    """Places of the text encoder, both marks included."""
    precision: Literal["bf16", "fp32"] | None = None
    """To run it in; None leaves it to the runtime."""
    # What follows only people read.
    channels: int | None = None
    edge_queries: int | None = None
    vocabulary: int | None = None
    pixel_mean: float | None = None
    pixel_std: float | None = None
    parameters: int | None = None
    stored: str | None = None
    why: str | None = None
    agreement: Any = None


class BiomedParseFields(Struct, frozen=True, forbid_unknown_fields=True):
    """The family's own fields; the defaults are what the released network was trained with and run as."""

    graphs: Graphs
    tokenizer: FileName
    network: NetworkFacts = NetworkFacts()
    order: Annotated[int, Meta(ge=1, le=8)] = 1
    """Of the Fractal Volumetric Encoding (``fractal``). Sides, 128 at least, are halved one time less."""
    halving: Literal["nearest", "area"] = "nearest"
    """How the encoding makes slices smaller; of no account for order 1."""
    paper: bool = False
    """What paper and released code do differently as the paper has it: `views` and `padding`."""
    views: Literal["released", "paper"] | None = None
    """Which axis is taken where the planes of the first are not symmetric (``square_slices.slice_axis``);
    null: as `paper` says."""
    padding: Literal["reflect", "repeat"] | None = None
    """What is seen beyond the last slice; null: as `paper` says."""
    attention: Literal["boltzmann", "full"] = BOLTZMANN
    """Whether each query attends to a drawn tenth of the slice, as it was trained to, or to all of it."""
    groups: Literal["whole", "single"] = WHOLE
    """Whether sentences are filled up to the longest of the case, as released, or stand alone: what fills
    them up takes part in the attention."""
    two_stage: bool = False
    """Whether the stage that locates is run: some slices at half the size, and then the region alone."""
    labels: Literal["nearest", "interpolated"] = "nearest"
    """How labels come to the volume's grid: as released, or by Vesal's own rule."""
    pairs: Count = 5
    """Pairs of slice and prompt that are decoded at once: bounds memory, and changes no result. With 15
    prompts 5 take 0.3 GB less than all at once."""
    dual_rate: DualRate | None = None
    """Which slices are run together, where they see each other (Bio2Vol, docs/bio2vol.md); null: the dense
    sequence alone."""
    cross_slice: CrossSlice | None = None
    """How slices see each other; it is in the graphs, which have to be converted with the same."""

    @property
    def sequences(self) -> DualRate | None:
        """Which slices are run together; None: each is run by itself, as no head looks at another."""
        if self.cross_slice is None or not self.cross_slice.heads:
            return None
        return self.dual_rate or DualRate(sparse=0)

    @property
    def lowest_ratio(self) -> bool:
        """Whether views are taken as the paper has it."""
        return self.views == "paper" if self.views else self.paper

    @property
    def border(self) -> Literal["edge", "reflect"]:
        """`padding` in the words of a layout."""
        repeat = self.padding == "repeat" if self.padding else self.paper
        return "edge" if repeat else "reflect"
