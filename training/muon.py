"""Muon: momentum whose update is made orthogonal, for convolution kernels and other matrices.

Source: Jordan et al. 2024 (Newton-Schulz coefficients 3.4445, -4.7750, 2.0315); scaled by 0.2 sqrt(max side)
so that its rate is AdamW's (Moonlight, Liu et al. 2025, section 2.2). Kernels are flattened to out x rest.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonal(update: Tensor, steps: int = 5, precision: torch.dtype = torch.float32) -> Tensor:
    """Nearest (semi-)orthogonal matrix of ``update`` (rows, columns), roughly: bf16 is precise enough."""
    a, b, c = NEWTON_SCHULZ
    x = (update / (update.norm() + 1e-7)).to(precision)
    turned = x.shape[0] > x.shape[1]
    if turned:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if turned else x).to(update.dtype)


class Muon(torch.optim.Optimizer):
    """See the module's docstring; every parameter needs at least two axes."""

    def __init__(
        self,
        params: list[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.precision = precision
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One Nesterov step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"]).reshape(p.shape[0], -1)
                update = orthogonal(update, precision=self.precision) * (0.2 * max(update.shape) ** 0.5)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.reshape(p.shape), alpha=-group["lr"])
