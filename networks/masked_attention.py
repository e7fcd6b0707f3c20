"""Attention whose projections can be had apart, and whose scores can be masked; names as in torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from vesal.networks.cross_slice import across_slices
from vesal.networks.query_decoder import CrossAttention

QUERY, KEY, VALUE = 0, 1, 2
"""Order of the parts of ``in_proj_weight``."""


class MaskedAttention(CrossAttention):
    """Attention of several heads. Keys and values that several calls share are projected once."""

    def project(self, part: int, x: Tensor) -> Tensor:
        """x (B, T, E) -> its projection as ``QUERY``, ``KEY`` or ``VALUE``, (B, T, E)."""
        return functional.linear(x, self.in_proj_weight.chunk(3)[part], self.in_proj_bias.chunk(3)[part])

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        masked: Tensor | None = None,
        slices: int | None = None,
    ) -> Tensor:
        """Attention on what is projected already.

        Args:
            query: (B, N, E).
            key: (B, T, E).
            value: (B, T, E).
            masked: (B, heads, N, T) bool, True where a query does not see a token, never a whole row; None
                masks nothing. A head that looks at another slice keeps the mask of its own.
            slices: how many there are in B, see ``cross_slice.across_slices``.

        Returns:
            (B, N, E).
        """
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        k, v = (across_slices(x, self.cross.offsets, slices) for x in (k, v))
        scores = q * (q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        if masked is not None:
            scores = scores.masked_fill(masked, float("-inf"))
        return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def self_attend(self, placed: Tensor, x: Tensor, slices: int | None = None) -> Tensor:
        """Queries and keys of ``placed`` (B, T, E), x with positions; values of x (B, T, E) -> (B, T, E)."""
        return self.cross_attend(placed, placed, x, slices)

    def cross_attend(self, query: Tensor, key: Tensor, value: Tensor, slices: int | None = None) -> Tensor:
        """query (B, N, E), key and value (B, T, E), none of them projected -> (B, N, E)."""
        parts = zip((QUERY, KEY, VALUE), (query, key, value), strict=True)
        q, k, v = (self.project(part, x) for part, x in parts)
        return self.attend(q, k, v, slices=slices)
