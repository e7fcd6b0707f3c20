"""The settings of a training run, and what follows from how much of it is behind."""

from __future__ import annotations

from dataclasses import dataclass

from vesal.networks.nano import WIDTHS, Widths
from vesal.networks.spad_vit import SpadVitSizes
from vesal.training.ideas import Ideas


@dataclass(frozen=True)
class Plan:
    """Settings of one training run."""

    hours: float = 0.0
    """Wall time of the whole run, all its parts together; the learning rate falls to its end within it."""
    steps: int = 0
    """Steps of the whole run, where these are given and not the hours: then nothing that the weights hang on
    follows the clock."""
    ending_s: float = 0.0
    """What of the hours is kept for the last look and the export."""
    seed: int = 0
    widths: Widths = WIDTHS
    deeper: int = 0
    """Further blocks at 1/8 and at 1/16 of the resolution (``sizes.py``)."""
    backbone: SpadVitSizes | None = None
    """Sizes of the SPAD-ViT in the place of the encoder's lower levels; None: there is none."""
    rate: float = 2.5e-3
    """Peak rate of Muon from nothing, as in ``LOG.md``; AdamW runs at ``adamw_share`` of it."""
    adamw_share: float = 0.6
    warmup_steps: int = 100
    final_share: float = 0.02
    weight_decay: float = 0.05
    coarse_voxels: int = 52**3
    fine_voxels: int = 56**3
    smallest: float = 0.35
    """Share of these voxels that a network which begins from nothing is first shown: what lies where and how
    siblings differ is learnt on small views as well, and at a third of the time."""
    grown_by: float = 0.5
    """Share of the run after which its views are as large as at run time."""
    settles_from: float = 0.6
    """Share of the run from which on ever more views are not augmented: this network fits its training
    patients no better than others, so augmentation takes more than it gives (LOG.md)."""
    settled: float = 0.7
    """That share at the end."""
    pairs: int = 3
    """Coarse views of a process in one step, and as many fine ones: more spare exchanges and updates."""
    average: float = 0.999
    """Decay of the averaged weights, which are the ones kept."""
    clip: float = 1.0
    ideas: Ideas = Ideas()
    dice_weight: float = 1.0
    presence_weight: float = 0.2
    validate_s: float = 900.0
    """Seconds between two looks at the validation volumes."""

    def __post_init__(self) -> None:
        """Raise ValueError unless the run has one length."""
        if (self.hours > 0) == (self.steps > 0):
            raise ValueError(
                f"a run takes hours or steps, one of them; got {self.hours:g} hours and {self.steps} steps"
            )

    @property
    def limit_s(self) -> float:
        """Seconds from the beginning to the last step."""
        return self.hours * 3600 - self.ending_s

    def check_time(self, prepared_s: float) -> None:
        """Raise ValueError where preparing and ending leave no time to learn."""
        if not self.steps and prepared_s >= self.limit_s:
            raise ValueError(
                f"--hours {self.hours:g} is {self.hours * 3600:.0f} s. Preparing took {prepared_s:.0f} s, "
                "which is less the next time, as unpacked volumes stay where they are; the last look and the "
                f"export need {self.ending_s:.0f} s. Give more."
            )

    def scale(self, share: float, warm: bool) -> float:
        """Factor on the voxels of a view: grows to 1 where the run began from nothing and not ``warm``."""
        low = self.smallest if self.ideas.growing and not warm else 1.0
        return min(1.0, low + (1 - low) * share / self.grown_by)

    def plain(self, share: float) -> float:
        """Share of the views that are not augmented, which grows towards the end."""
        after = (share - self.settles_from) / (1 - self.settles_from)
        return self.settled * max(0.0, after) if self.ideas.settling else 0.0


def ending_s(volumes: int) -> float:
    """Seconds to keep for the last look at so many volumes and for the export.

    Two to three times what they take on two cores with AVX512-bf16 (0.1 to 0.15 s a volume, 10 s).
    """
    return 30.0 + 0.4 * volumes
