"""Graphs of VoxTell as files: how their weights are stored, and what that was measured to change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.networks.voxtell import VoxTell
from vesal.weights.convert import graphs, verify
from vesal.weights.convert.folder import Options
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.voxtell_graphs import (
    LINEAR,
    PROMPT,
    TEXT,
    WINDOW,
    Sides,
    each_graph,
    smaller_graph,
)
from vesal.weights.convert.voxtell_names import TITLE
from vesal.weights.convert.voxtell_verify import WindowCase, measure_voxtell, network_logits, synthetic_case

log = logging.getLogger("vesal")

WEIGHTS = "weights.bin"
"""What all graphs share."""
ROLES = {role: f"{role}.onnx" for role in (WINDOW, TEXT, PROMPT)}
"""Files of the graphs."""
MEASURED = "measured-"
"""In front of the names of graphs for a part of the window, which only the conversion needs."""
TRACED = "traced"


def write_graphs(
    network: VoxTell, window: Sides, embeddings: np.ndarray, work: Path, options: Options, int8: bool = True
) -> dict[str, Any]:
    """Write the graphs, stored as ``options`` want it, or as small as changes next to nothing.

    Args:
        network: with its weights.
        window: (d, h, w) of its windows.
        embeddings: of some texts, (N, T).
        work: folder to write to.
        options: see there.
        int8: whether linear layers may be stored in 8 bits, where ``options`` leave it open how.

    Returns:
        what the manifest tells of the network.

    Raises:
        ConversionError: see ``verify.check``.
    """
    part = verify.measured_window(window, options.published_window)
    case = synthetic_case(part, embeddings)
    made = _Graphs(network, window, part, case, network_logits(network, window, case), work)
    stored = "fp32" if options.store == "fp32" else "fp16"
    found = made.write(stored)
    if stored == "fp16" and found["fp32"].share < verify.MIN_AGREEMENT:
        log.warning("weights in fp16 change the class of %.2f %% of voxels", 100 * (1 - found["fp32"].share))
        if options.store == "auto":
            stored = "fp32"
            found = made.write(stored)
    if stored == "fp32":
        verify.check(TITLE, found["fp32"])
    rounded: dict[str, Any] = {}
    # Where 16 bits change too much, 8 would.
    if int8 and options.store == "auto" and stored == "fp16" and made.large:
        rounded, found = made.round_layers(stored, found)
    precision, why = verify.choose_precision(options.precision, found)
    log.info("%s; %s", precision or "precision left to the runtime", why)
    return {
        "stored": stored,
        "precision": precision,
        "why": why,
        "agreement": {name: asdict(each) for name, each in found.items()},
        "measured_dhw": list(part),
        "int8": rounded,
    }


@dataclass(frozen=True, eq=False)
class _Graphs:
    """The graphs of one network in one folder, and what they should give."""

    network: VoxTell
    window: Sides
    part: Sides
    """Of the window, to measure at."""
    case: WindowCase
    wanted: np.ndarray
    """(N, d, h, w) logits of the network for ``case``."""
    work: Path

    @property
    def large(self) -> tuple[str, ...]:
        """Of ``LINEAR``, those with layers that are large enough to be stored in 8 bits."""
        sizes = {name: value.numel() for name, value in self.network.named_parameters() if value.ndim == 2}
        return tuple(
            part
            for part in LINEAR
            if any(size >= graphs.MIN_INT8_ELEMENTS for name, size in sizes.items() if name.startswith(part))
        )

    def round_layers(
        self, stored: str, found: dict[str, verify.Agreement]
    ) -> tuple[dict[str, Any], dict[str, verify.Agreement]]:
        """Store linear layers in 8 bits, all of them or those parts that change next to nothing.

        Args:
            stored: how the rest is.
            found: agreement as it is without.

        Returns:
            what the manifest tells of them, and the agreement as it is then.
        """
        shares: dict[str, float] = {}
        kept: tuple[str, ...] = ()
        tried = [self.large, *((part,) for part in self.large if len(self.large) > 1)]
        for parts in tried:
            share = self.write(stored, (*kept, *parts), with_fast=False)["fp32"].share
            shares[" ".join((*kept, *parts))] = share
            if share >= verify.MIN_AGREEMENT:
                kept = (*kept, *parts)
            if kept == self.large:
                break
        log.info("linear layers in int8: %s; voxels of the same class: %s", " ".join(kept) or "none", shares)
        return {"layers": list(kept), "shares": shares}, self.write(stored, kept)

    def write(
        self, stored: str, in_int8: Sequence[str] = (), with_fast: bool = True
    ) -> dict[str, verify.Agreement]:
        """Write them, and measure."""
        traced = each_graph(self.network, self.window, self.work / TRACED)
        named = ((ROLES[role], graph) for role, graph in traced)
        save_graphs(named, self.work, WEIGHTS, stored == "fp16", in_int8)
        (self.work / TRACED).unlink()
        paths = {role: self.work / name for role, name in ROLES.items()}
        of_part = {role: self.work / f"{MEASURED}{ROLES[role]}" for role in (WINDOW, PROMPT)}
        for role, path in of_part.items():
            smaller_graph(paths[role], path, self.network, self.window, self.part)
        found = measure_voxtell(paths | of_part, self.case, self.wanted, with_fast)
        for path in of_part.values():
            path.unlink()
        return found
