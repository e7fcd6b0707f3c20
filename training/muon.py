"""Muon: momentum whose update is made orthogonal, for convolution kernels and other matrices.

Source: Jordan et al. 2024 (Newton-Schulz coefficients 3.4445, -4.7750, 2.0315); scaled by 0.2 sqrt(max side)
so that its rate is AdamW's (Moonlight, Liu et al. 2025, section 2.2). Kernels are flattened to out x rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonal(update: Tensor, steps: int = 5) -> Tensor:
    """Nearest (semi-)orthogonal matrix of ``update`` (rows, columns), roughly.

    Every step multiplies ``x`` by a polynomial of its Gram matrix ``G = x x^T``: the steps are made on ``G``.
    It is small where a kernel is 128 x 3456: two products with ``x`` instead of ten.
    """
    a, b, c = NEWTON_SCHULZ
    x = update / (update.norm() + 1e-7)
    turned = x.shape[0] > x.shape[1]
    if turned:
        x = x.T
    gram = x @ x.T
    total = unit = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(steps):
        factor = a * unit + b * gram + c * gram @ gram
        total, gram = factor @ total, factor @ gram @ factor
    x = total @ x
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    """See the module's docstring; every parameter needs at least two axes."""

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One Nesterov step; unlike torch's own it takes no closure."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"]).reshape(p.shape[0], -1)
                update = orthogonal(update) * (0.2 * max(update.shape) ** 0.5)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.reshape(p.shape), alpha=-group["lr"])
