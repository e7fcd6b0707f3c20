"""A wider network that computes what a narrower one does: new channels add nothing at first.

Net2Net (Chen et al. 2016, section 3) copies channels to keep the function; here new ones are drawn as in any
new network, and whatever reads them begins at zero. Groups of the normalisation do not mix, as widths are
multiples of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from vesal.networks.nano import (
    EDGE,
    GROUP,
    IMAGE_CHANNELS,
    QUERY,
    SIDE_COUNT,
    TEXT,
    Widths,
    deeper_of,
    widths_of,
)

Parts = tuple[int, ...]
"""Channels along one dimension of a tensor, by where they come from: several where features are joined."""

FURTHER = "deeper."
MASK = ("to_mask.2.weight", "to_mask.2.bias", "text_to_mask.weight", "side_to_mask.weight")
"""Rows of a target's mask: they multiply features, new ones among them, so new rows begin at zero."""


def _layout(widths: Widths, deeper: int) -> Iterator[tuple[str, Parts, Parts]]:
    """Name, outputs and inputs of every tensor whose size follows from the widths; no inputs: a vector."""
    a, b, c, d = widths
    yield "stem.weight", (a,), (IMAGE_CHANNELS,)
    down = [("down.0", (a,), a), ("down.1", (a,), b), ("down.2", (b,), c), ("down.3", (c,), d)]
    up = [("up.0", (d, c), c), ("up.1", (c, b), b), ("up.2", (b, a), a)]
    for name, joined, out in down + up:
        yield f"{name}.conv1.weight", (out,), joined
        yield f"{name}.conv2.weight", (out,), (out,)
        yield f"{name}.shortcut.weight", (out,), joined
        for norm in ("norm1", "norm2"):
            yield f"{name}.{norm}.weight", (out,), ()
            yield f"{name}.{norm}.bias", (out,), ()
    further = [(f"{FURTHER}{i}.{n}", width) for i, width in enumerate((c, d)) for n in range(deeper)]
    for name, width in further:
        for part in ("1", "2"):
            yield f"{name}.conv{part}.weight", (width,), (width,)
            yield f"{name}.norm{part}.weight", (width,), ()
            yield f"{name}.norm{part}.bias", (width,), ()
    for norm in ("stem_norm", "align_norm"):
        yield f"{norm}.weight", (a,), ()
        yield f"{norm}.bias", (a,), ()
    for i, width in enumerate((b, c, d)):
        yield f"token_proj.{i}.weight", (QUERY,), (width,)
    yield "to_mask.2.weight", (a,), (QUERY,)
    yield "to_mask.2.bias", (a,), ()
    yield "text_to_mask.weight", (a,), (TEXT,)
    yield "side_to_mask.weight", (SIDE_COUNT,), (a,)
    yield "align.weight", (a,), (a, a)
    yield "edge_gate.weight", (EDGE,), (a,)
    yield "presence.0.weight", (64,), (a, a, QUERY)


def _kept(old: Parts, new: Parts) -> torch.Tensor:
    """Where the old channels are among the new ones: at the beginning of each part."""
    starts = [sum(new[:i]) for i in range(len(new))]
    return torch.cat([torch.arange(s, s + n) for s, n in zip(starts, old, strict=True)])


def differ_in_widths(state: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether both are this network, of other widths."""
    return "down.3.norm2.weight" in set(state) & set(other) and widths_of(state) != widths_of(other)


def widen(narrow: Mapping[str, torch.Tensor], fresh: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of ``narrow`` in the shapes of ``fresh``, a new network whose levels are as wide or wider.

    Further blocks that ``fresh`` alone has are not among them: they add nothing at first.

    Raises ValueError where a level is narrower, or not a multiple of a normalisation group, and where two
    levels are as wide as each other in one network alone, which has no shortcut between them.
    """
    before, after = widths_of(narrow), widths_of(fresh)
    multiples = all(n <= m and n % GROUP == m % GROUP == 0 for n, m in zip(before, after, strict=True))
    others = {name for name in set(narrow) ^ set(fresh) if not name.startswith(FURTHER)}
    if not multiples or others:
        raise ValueError(
            f"widths {before} do not go into {after}; wanted none smaller, multiples of {GROUP}, and the "
            "same tensors: levels that differ in both networks or in none"
        )
    wide, layouts = dict(narrow), [_layout(each, deeper_of(narrow)) for each in (before, after)]
    for (name, out, joined), (_, outs, joins) in zip(*layouts, strict=True):
        if name in narrow:
            wide[name] = _grown(narrow[name], fresh[name], (out, outs), (joined, joins), name in MASK)
    scale = (after[0] / before[0]) ** 0.5  # the network divides by the square root of a mask's length
    for name in MASK:
        wide[name] = wide[name] * scale
    align = wide["align.weight"].clone()
    align[:, after[0] :] /= scale  # reads the spatial prompts times the masks
    return wide | {"align.weight": align}


def _grown(
    old: torch.Tensor, fresh: torch.Tensor, rows: Sequence[Parts], columns: Sequence[Parts], empty: bool
) -> torch.Tensor:
    """``old`` within ``fresh``; ``empty``: nothing of ``fresh`` is kept."""
    new = torch.zeros_like(fresh) if empty else fresh.clone()
    at = _kept(*rows)
    if columns[0]:
        new[at] = 0
        new[at[:, None], _kept(*columns)] = old
    else:
        new[at] = old
    return new
