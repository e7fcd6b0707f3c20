"""The training ideas of the papers, each of which can be switched off for an ablation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Ideas:
    """Everything on is how the default weights are trained."""

    own: bool = True
    """The fine stage's prompt is the network's own coarse result; off: made from the ground truth."""
    simulation: bool = True
    """Prompts are spoiled: blocks dropped and added, channels emptied (Medal S algorithm 1)."""
    foreground: bool = True
    """The maximum over all spatial prompts is an input channel (Medal S 2.3)."""
    alignment: bool = True
    """Channel-wise alignment of spatial prompts, ``F_a = T^T S_p`` (Medal S 2.3)."""
    presence: bool = True
    """A presence head per slice is trained beside the masks (BiomedParse-V eq. 3)."""
    cutoff: bool = True
    """No gradient of the presence loss reaches the masks' features (BiomedParse-V eq. 4)."""
    negatives: bool = True
    """Targets of other body parts are asked for, and must come out empty."""
    spad: bool = True
    """Kernels and strides collapse along a thick axis (SPAD-Nets); off: three-dimensional everywhere."""
    dice: bool = True
    """Dice loss where the class is present; off: cross-entropy alone."""
    flips: bool = True
    """Mirrored copies where they are anatomy, with sides swapped where sides are known to turn."""
    elastic: bool = True
    """Elastic deformation, stretched axes, and views as of finer acquisitions."""
    thicker: bool = True
    """Some volumes are shown with thicker slices than they have (``thicken.py``)."""
    cut: bool = True
    """Of some volumes a part is shown, as of a smaller field of view (``cut.py``)."""
    growing: bool = True
    """A run from nothing begins with small views (``plan.Plan.smallest``)."""
    settling: bool = True
    """Towards its end a run shows most views as they are, not augmented (``plan.Plan.settled``)."""
    synthetic: bool = True
    """Images made from label maps (``synthetic.py``) and smoothed copies (``smoothed.py``) are mixed in."""

    def without(self, names: Iterable[str]) -> Ideas:
        """The same with some switched off. Raises ValueError for a name that is no idea."""
        names = tuple(names)
        known = {f.name for f in fields(self)}
        if unknown := set(names) - known:
            raise ValueError(f"no training idea is called {sorted(unknown)}; there are {sorted(known)}")
        return replace(self, **dict.fromkeys(names, False))
