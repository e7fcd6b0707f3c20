"""Whole cases on a clock that nobody waits for: the network moves it, and so does writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.inference.fake_models import Bright, made_image, make_case, make_engine, make_prompt
from vesal.inference.data.prompt import Prompt
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.timing.clock import Clock, case_budget_s

CONCEPTS = ("liver", "spleen", "kidney", "cell")
SMALL = 16**3
"""Voxels of a window: the smallest the network takes, so that a thousand cases take seconds."""

Cost = Callable[[], float]


class TimeIsUp(BaseException):
    """Stands for the supervisor, which ends a case at its deadline whatever still runs."""


@dataclass
class World:
    """The clock of one simulated case, and what stands on disk."""

    file: Path
    clock: Clock = field(init=False)
    at: float = 0.0
    written_at: list[float] = field(default_factory=list)

    def begin(self, budget_s: float, read_s: float, save_s: float) -> None:
        """Start the case's clock; writing zeros and reading were done before the engine is asked."""
        self.clock = Clock(budget_s, self.at, lambda: self.at, save_s)
        self.at += save_s + read_s

    def spend(self, seconds: float) -> None:
        """Let time go by; at the case's deadline it is over."""
        if self.at + seconds >= self.clock.deadline():
            self.at = max(self.at, self.clock.deadline())
            raise TimeIsUp
        self.at += seconds

    def write(self, labels: np.ndarray, seconds: float) -> None:
        """Write a label map, which is there when its time has gone by."""
        self.spend(seconds)
        write_label_map(self.file, labels)
        self.written_at.append(self.at)


class SlowNet(Bright):
    """A network whose every call takes some of the world's time."""

    def __init__(self, world: World, cost: Cost) -> None:
        super().__init__()
        self.world, self.cost = world, cost
        self.count = 0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.count += 1
        self.world.spend(self.cost())
        return super().__call__(inputs)


@dataclass(frozen=True)
class Setting:
    """What a simulated case looks like."""

    image: np.ndarray
    prompts: list[Prompt]
    rules: dict[str, StageRule]
    read_s: float
    save_s: float
    instance: bool

    @property
    def budget_s(self) -> float:
        """That of the challenge."""
        return case_budget_s(len(self.prompts))


def make_setting(random: np.random.Generator) -> Setting:
    """A volume of one or some windows, 1 to 5 prompts and stages of every kind."""
    shape = tuple(int(n) for n in random.choice((8, 16, 24), 3))
    cubes = []
    for level in (200, 120, 160):
        start = [int(random.integers(0, n - 4)) for n in shape]
        cubes.append((tuple(slice(s, s + 5) for s in start), level))
    several = int(random.choice((1, 2, 4)))
    coarse = StageRule(SMALL, max_windows=int(random.choice((1, 1, 4))), skip=bool(random.random() < 0.15))
    fine = StageRule(
        SMALL,
        max_windows=several,
        rounds=int(random.integers(1, 4)),
        complementary_block=int(random.choice((0, 4))),
        max_windows_if_empty=int(random.choice((0, 2))),
        max_targets_per_view=int(random.integers(1, 4)),
        skip=bool(random.random() < 0.1) and not coarse.skip,
    )
    prompts = [
        make_prompt(i + 1, CONCEPTS[i % 4], "left" if i % 4 == 2 else None)
        for i in range(int(random.integers(1, 6)))
    ]
    return Setting(
        made_image(shape, *cubes),
        prompts,
        {"coarse": coarse, "fine": fine},
        read_s=float(10 ** random.uniform(-3, 0.7)),
        save_s=float(10 ** random.uniform(-3, 0)),
        instance=bool(random.random() < 0.2),
    )


def simulate(
    setting: Setting, world: World, net: SlowNet, budget_s: float | None = None
) -> Segmentation | None:
    """Run a case as the loop over cases does; None where time was over before the engine was done."""
    write_label_map(world.file, np.zeros(setting.image.shape, np.uint8))
    world.begin(setting.budget_s if budget_s is None else budget_s, setting.read_s, setting.save_s)
    engine = make_engine(net, **setting.rules)
    case = make_case(setting.image, setting.prompts, instance=setting.instance)
    try:
        result = engine.segment(
            case, setting.prompts, world.clock, lambda labels: world.write(labels, setting.save_s)
        )
        world.write(result.labels, setting.save_s)
    except TimeIsUp:
        return None
    return result
