"""Instance norms whose statistics keep their digits whatever the window's size.

Both runtimes add up a channel's voxels one after the other in single precision, and by 192^3 voxels the scale
is off: InstanceNormalization by 2e-4 in ONNX Runtime, and by 1e-3 in OpenVINO between convolutions, where
channels lie last. Here mean and variance are taken in two passes, of lines, then of planes, then of the
window: no sum has more terms than a side of the window has voxels. `python -m benchmarks.norms` measures it.

Three things are there for the runtimes:

- Means are doubled between two axes. OpenVINO would merge reductions that follow each other into one over
  all axes, which adds up one by one again, and with the rest into its own norm. Doubling is exact.
- A mean comes as two parts, of which the second one holds what rounding took from the first. In bf16 each of
  them is rounded to 8 bits, and a channel would be shifted by as much.
- Nothing of the window's size is written in between but the squares of differences, as a power: OpenVINO
  takes difference and power in one pass, but a product with itself in two where shapes are free.
"""

from __future__ import annotations

from torch import Tensor, nn


class AxisNorm(nn.Module):
    """An instance norm of one image with scale and shift, its statistics taken axis by axis."""

    def __init__(self, norm: nn.InstanceNorm3d) -> None:
        """Take over the weights of ``norm``."""
        super().__init__()
        # Vectors, as everywhere: these stay in fp32 where weights are stored in fp16.
        self.weight, self.bias, self.epsilon = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, d, h, w) -> the same shape."""
        mean, mean_rest = axis_mean(x)
        variance, variance_rest = axis_mean((x - mean).pow(2))
        deviation = (variance + (variance_rest + self.epsilon)).sqrt()
        scale = self.weight.view(1, -1, 1, 1, 1) / deviation
        return x * scale + (self.bias.view(1, -1, 1, 1, 1) - (mean + mean_rest) * scale)


def axis_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each channel (B, C, d, h, w) as a sum of two parts (B, C, 1, 1, 1)."""
    planes = 2 * (2 * x.mean(4, keepdim=True)).mean(3, keepdim=True)
    mean = planes.mean(2, keepdim=True)
    rest = (planes - mean).mean(2, keepdim=True)
    return mean / 4, rest / 4
