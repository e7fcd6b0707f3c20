"""Cross-slice dual-head attention: the first heads take keys and values of another slice of the run.

Bio2Vol section 2.2, equations 2 to 5. The projections are those of the attention that is there: nothing is
added to a checkpoint. Where the other slice lies outside of the run, a head keeps the slice's own keys and
values, as ZeroI2V does, which the paper follows; so a run of one slice is the network without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vesal.inference.data.cross_slice import CrossSlice


class Attention(Protocol):
    """A module whose heads can look at other slices."""

    heads: int
    cross: CrossSlice


def look_across(attentions: Iterable[Attention], cross: CrossSlice) -> None:
    """Let the first heads of some attentions look at other slices from now on; without heads none does.

    Raises:
        ValueError: ``cross`` has more heads than one of them.
    """
    attentions = list(attentions)
    for attention in attentions:
        _require_heads(cross.heads, attention.heads)
    for attention in attentions:
        attention.cross = cross


def other_slice(x: Tensor, offset: int) -> Tensor:
    """Slice t + offset in the place of slice t; t itself where there is no such slice.

    Bounds are constants, so that a graph exported from it takes any number of slices.

    Args:
        x: (*, T, L, d).
        offset: in slices, not 0.
    """
    n = abs(offset)
    if offset > 0:
        return torch.cat([x[..., n:, :, :], x[..., -n:, :, :]], -3)
    return torch.cat([x[..., :n, :, :], x[..., :-n, :, :]], -3)


def across_slices(x: Tensor, offsets: Sequence[int], slices: int | None = None) -> Tensor:
    """Keys or values of a cross-slice attention (equation 4).

    Args:
        x: (*, T * n, heads, L, d), projected, T slices of one run in their order, each with n rows one after
            the other, such as prompts; these do not mix.
        offsets: of the first heads, see ``CrossSlice.offsets``; empty: the values of ``x`` are returned.
        slices: T; None: every row is a slice.

    Returns:
        like ``x``: head i of slice t holds that of slice t + offsets[i], if there is one.

    Raises:
        ValueError: more offsets than heads.
    """
    if not offsets:
        # As what is put together below lies in memory: of other strides a product rounds otherwise.
        return x.contiguous()
    if not torch.jit.is_tracing():
        _require_heads(len(offsets), x.shape[-3])
    if slices is not None:
        apart = x.unflatten(-4, (slices, -1)).transpose(-5, -4)
        return across_slices(apart, offsets).transpose(-5, -4).flatten(-5, -4)
    first = [other_slice(x[..., head, :, :], offset) for head, offset in enumerate(offsets)]
    return torch.cat([torch.stack(first, -3), x[..., len(offsets) :, :, :]], -3)


def _require_heads(wanted: int, heads: int) -> None:
    """Raise ValueError where an attention has fewer heads than are to look at other slices."""
    if wanted > heads:
        raise ValueError(
            f"{wanted} heads are to look at other slices, but the attention has {heads}; set "
            "`cross_slice.heads` to these at most."
        )


def attend(query: Tensor, key: Tensor, value: Tensor, masked: Tensor | None = None) -> Tensor:
    """Usual attention of every head (equation 3): softmax(q k^T / sqrt(d)) v.

    Args:
        query: (*, N, d), projected.
        key, value: (*, L, d).
        masked: bool, broadcast to (*, N, L): pairs that do not count; of a query one at least does.

    Returns:
        (*, N, d), heads not joined yet.
    """
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if masked is not None:
        scores = scores.masked_fill(masked, float("-inf"))
    return scores.softmax(-1) @ value


def cross_slice_attention(
    query: Tensor, key: Tensor, value: Tensor, cross: CrossSlice, masked: Tensor | None = None
) -> Tensor:
    """Attention whose first heads look at another slice (equations 3 to 5, without the last projection).

    Args:
        query: (*, T, heads, N, d), projected.
        key, value: (*, T, heads, L, d).
        cross: which heads, and where they look.
        masked: see ``attend``. It stays that of slice t: the same places of the other slice are masked. The
            paper does not say what becomes of a mask.

    Returns:
        (*, T, heads, N, d): cross-slice heads first, then those within the slice.

    Raises:
        ValueError: ``cross`` has more heads than the attention.
    """
    return attend(query, across_slices(key, cross.offsets), across_slices(value, cross.offsets), masked)
