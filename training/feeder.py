"""A thread that prepares views while the network works on the ones before.

Coarse views come first; what the network makes of one goes back to the thread, which builds the fine view
with that result as its prompt. So the fine stage learns from the errors of the very coarse stage that it
follows, at no cost.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from vesal.inference.geometry.fit import fit_view
from vesal.training import thicken
from vesal.training.anatomy import Anatomy
from vesal.training.cut import part_of
from vesal.training.device import CPU
from vesal.training.ideas import Ideas
from vesal.training.store import SetRule, Target, Volume, with_thickest_slices
from vesal.training.views import ABSENT, ALL, NEGATIVE, Item, coarse_item, fine_item

VIEW_SHARES = {"coarse": (0.7, 1.5), "fine": (0.6, 1.6)}
"""Sizes of views as shares of the plan's voxels: a network that saw many sizes can be run at the finest."""
OWN_MODALITY = 0.75
"""Share of absent targets that other sets label in the same modality, if there are any: what may be asked for
at run time."""
THICKER = 0.2
"""Share of volumes shown with thicker slices than they have (``thicken.py``)."""
USUAL = 0.5
"""Share of the volumes of a set, where it tells them, with slices as thick as such scans usually have."""
CUT = 0.12
"""Share of volumes of which a part is shown (``cut.py``)."""
AHEAD = 4
"""Views prepared in advance, of each stage."""


class ViewSchedule(NamedTuple):
    """How views are prepared as a run goes on."""

    scale: float = 1.0
    """Factor on their voxels."""
    plain: float = 0.0
    """Share of them that are not augmented."""


class Draws(NamedTuple):
    """What is drawn before a view; the first four are the same in all processes."""

    voxels: int
    thick: bool
    """Whether it shows a set of thick slices."""
    thicker: bool
    """Whether it shows them thicker than they are."""
    cut: bool
    """Whether it shows a part of the volume."""
    plain: bool
    """Whether it is left as it is."""
    rng: np.random.Generator
    """Draws the rest."""


Probability = np.ndarray | torch.Tensor
"""A tensor as the network left it, on whatever device: the thread that wants the numbers waits for them."""


class Feeder:
    """Endless source of training views. The n-th of a stage has a seed of its own: given the same pace and
    coarse results it is the same whenever it is prepared and wherever a run goes on from.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        rules: dict[str, SetRule],
        coarse_voxels: int,
        fine_voxels: int,
        seed: int,
        rank: int = 0,
        ideas: Ideas = ALL,
        schedule: Callable[[int], ViewSchedule] = lambda n: ViewSchedule(),
        first: int = 0,
        device: torch.device = CPU,
    ) -> None:
        """``schedule`` tells how the n-th view of a stage is prepared; that from which to begin is ``first``.
        Views come on ``device``.

        Processes of a run have the same ``seed`` and each its own ``rank``: views of one step are as large in
        each of them, and of thick slices in all or in none, as these take half as long again; so none waits
        long for the others.
        """
        self._by_set: dict[str, list[Volume]] = {}
        for v in with_thickest_slices(volumes):
            self._by_set.setdefault(v.dataset, []).append(v)
        self._rules = rules
        self._names = sorted(self._by_set)
        self._kinds, self._share_thick = self._by_slices(coarse_voxels)
        self._voxels = {"coarse": coarse_voxels, "fine": fine_voxels}
        self._schedule, self._next = schedule, dict.fromkeys(VIEW_SHARES, first)
        self._ideas = ideas
        self._strangers = self._strangers_by_set()
        self._seed, self._rank, self._device = seed, rank, device
        self._start()

    def _start(self) -> None:
        """Begin to prepare views."""
        self._coarse: queue.Queue[Item] = queue.Queue(AHEAD)
        self._fine: queue.Queue[Item] = queue.Queue()
        self._results: queue.Queue[tuple[Item, Probability]] = queue.Queue()
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def coarse(self) -> Item:
        """The next view of a whole volume."""
        return self._take(self._coarse)

    def give_back(self, item: Item, probability: Probability) -> None:
        """Hand over the coarse result (N, D, H, W) on ``item.view``; a fine view of the case follows."""
        self._results.put((item, probability))

    def fine(self) -> Item:
        """The next fine view; waits for one, so call it at most as often as ``give_back``."""
        return self._take(self._fine)

    def close(self) -> None:
        """End the thread, and wait for it: a process that exits meanwhile aborts."""
        self._stop.set()
        self._thread.join()

    def _take(self, source: queue.Queue[Item]) -> Item:
        while True:
            if self._failure is not None:
                raise RuntimeError("the thread that prepares views failed") from self._failure
            try:
                return source.get(timeout=1.0)
            except queue.Empty:
                continue

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._one()
        except BaseException as failure:  # handed to the training thread, which raises it
            self._failure = failure

    def _one(self) -> None:
        """Prepare one view: a fine one if a coarse result waits, else a coarse one if there is room."""
        try:
            item, probability = self._results.get(timeout=0.002 if not self._coarse.full() else 0.05)
        except queue.Empty:
            if not self._coarse.full():
                self._coarse.put(self._coarse_item(self._draws("coarse")))
            return
        self._fine.put(self._fine_item(item, probability, self._draws("fine")))

    def _draws(self, stage: str) -> Draws:
        """What is drawn for the next view of a stage, and what draws the rest of it."""
        n = self._next[stage]
        self._next[stage] += 1
        which = [self._seed, list(VIEW_SHARES).index(stage), n]
        # From 1: numpy seeds the same with and without a 0 at the end.
        shared, rng = np.random.default_rng(which), np.random.default_rng([*which, 1 + self._rank])
        schedule = self._schedule(n)
        share = schedule.scale * shared.uniform(*VIEW_SHARES[stage])
        voxels = max(16**3, int(self._voxels[stage] * share))
        thick = bool(shared.random() < self._share_thick)
        thicker = self._ideas.thicker and bool(shared.random() < THICKER)
        cut = self._ideas.cut and bool(shared.random() < CUT)
        return Draws(voxels, thick, thicker, cut, bool(rng.random() < schedule.plain), rng)

    def _by_slices(self, voxels: int) -> tuple[dict[bool, tuple[list[str], np.ndarray]], float]:
        """Names of the sets with thick slices and of those without, each with what it is drawn by; and how
        often one with thick slices is drawn.
        """
        thick = {n: _has_thick_slices(self._by_set[n], voxels) for n in self._names}
        weights = {n: self._rules[n].weight for n in self._names}
        kinds = {}
        for kind in (False, True):
            names = [n for n in self._names if thick[n] is kind]
            drawn = np.array([weights[n] for n in names])
            kinds[kind] = names, drawn / drawn.sum()
        return kinds, sum(weights[n] for n in kinds[True][0]) / sum(weights.values())

    def _fine_item(self, item: Item, probability: Probability, drawn: Draws) -> Item:
        """The fine view that follows a coarse one and its result."""
        found = probability.cpu().numpy() if isinstance(probability, torch.Tensor) else probability
        rule, ideas = self._rules[item.volume.dataset], self._ideas
        voxels = int(drawn.voxels * rule.fine_scale)
        return fine_item(item, found, rule, voxels, drawn.rng, ideas, drawn.plain, self._device)

    def _coarse_item(self, drawn: Draws) -> Item:
        """A coarse view of a volume that is drawn."""
        rng = drawn.rng
        names, weights = self._kinds[drawn.thick]
        name = names[int(rng.choice(len(names), p=weights))]
        volumes = self._by_set[name]
        volume = volumes[int(rng.integers(len(volumes)))]
        if drawn.cut:
            volume = part_of(volume, rng)
        rule = self._rules[name]
        if drawn.thicker:
            volume = thicken.thicker(volume, rng)
        elif self._ideas.thicker and rule.usual_mm and rng.random() < USUAL:
            volume = thicken.thicker(volume, rng, *rule.usual_mm)
        if rule.also and rng.random() < 0.5:
            other = rule.also[int(rng.integers(len(rule.also)))]
            volume = replace(
                volume, targets=tuple(replace(t, name=other, concept=other) for t in volume.targets)
            )
        negative = self._ideas.negatives and rng.random() < NEGATIVE
        absent = self._absent(name, volume.targets[0].modality, rng) if negative else ()
        return coarse_item(volume, rule, drawn.voxels, rng, absent, self._ideas, drawn.plain, self._device)

    def _absent(self, name: str, modality: str, rng: np.random.Generator) -> tuple[Target, ...]:
        """Some targets that lie in no part of the body that the set ``name`` shows, each another one."""
        strangers = self._strangers[name]
        own = [t for t in strangers if t.modality == modality]
        pool = own if own and rng.random() < OWN_MODALITY else strangers
        chosen = rng.choice(len(pool), min(ABSENT, len(pool)), replace=False) if pool else ()
        return tuple(replace(pool[int(i)], label=0, modality=modality) for i in chosen)

    def _strangers_by_set(self) -> dict[str, list[Target]]:
        """By set: what others label and none of its volumes shows, each target once a modality."""
        bodies = {n: frozenset(self._rules[n].body) for n in self._names}
        anatomy = Anatomy(bodies, Anatomy.read().parts)
        labelled = {(t.name, t.modality): t for n in self._names for v in self._by_set[n] for t in v.targets}
        owners: dict[str, set[str]] = {}
        for n in self._names:
            for concept in {t.concept for v in self._by_set[n] for t in v.targets}:
                owners.setdefault(concept, set()).add(n)
        where = {concept: anatomy.where(concept, sets) for concept, sets in owners.items()}
        targets = [target for _, target in sorted(labelled.items())]
        return {n: [t for t in targets if anatomy.is_absent(n, where[t.concept])] for n in self._names}


def _has_thick_slices(volumes: Sequence[Volume], voxels: int) -> bool:
    """Whether most of them are looked at within slices."""
    degrees = [fit_view(v.body, v.spacing_dhw_mm, voxels).degree for v in volumes]
    return 2 * sum(d > 0 for d in degrees) > len(degrees)
