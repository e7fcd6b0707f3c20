"""Norms of exported graphs: as many digits in a large window as in a small one, in each runtime."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
onnx = pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from torch import Tensor, nn  # noqa: E402

from vesal.inference.runtime.choice import Runtime, choose_runtime  # noqa: E402
from vesal.networks.medal_s import MedalS  # noqa: E402
from vesal.networks.sat import Sizes  # noqa: E402
from vesal.networks.unet import ConvBlock  # noqa: E402
from vesal.weights.convert.graphs import exported_form, trace  # noqa: E402

LIMIT = 1e-6
"""Of a norm's scale. torch's is off by 1e-7; InstanceNormalization's in such a window by 2e-5 to 4e-4."""
WINDOW = (112, 160, 144)


class Apart(nn.Module):
    """An exported norm, alone or between convolutions that change nothing: in OpenVINO these decide how a
    tensor lies in memory, and with it in which order a norm adds up.
    """

    def __init__(self, channels: int, convolved: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        network = MedalS(Sizes(2, (channels,) * 2, 2, 12, 12, 12, 12, 1, 2))
        (block, *_) = (m for m in exported_form(network, True).modules() if isinstance(m, ConvBlock))
        self.norm, self.convolved = block.norm, convolved
        same = torch.zeros(channels, channels, 3, 3, 3)
        same[range(channels), range(channels), 1, 1, 1] = 1
        self.same = nn.Parameter(same)

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, d, h, w) -> the same shape."""
        if not self.convolved:
            return self.norm(x)
        y = self.norm(nn.functional.conv3d(x, self.same, padding=1))
        return nn.functional.conv3d(y, self.same, padding=1)


def written(channels: int, convolved: bool, folder: Path) -> Path:
    """The graph of ``Apart``, for any window."""
    axes = {2: "d", 3: "h", 4: "w"}
    module = Apart(channels, convolved).eval()
    example = torch.randn(1, channels, 4, 6, 8)
    graph = trace(module, [example], ["x"], ["y"], {"x": axes, "y": axes}, folder / "traced")
    onnx.save(graph, str(folder / "norm.onnx"))
    return folder / "norm.onnx"


def image(channels: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Noise with another mean in every channel, and one that changes along the first axis."""
    rng = np.random.default_rng(0)
    x = 1.5 * rng.standard_normal((1, channels, *shape), dtype=np.float32)
    x += np.linspace(-2, 4, channels, dtype=np.float32).reshape(1, -1, 1, 1, 1)
    x += np.linspace(-1, 1, shape[0], dtype=np.float32).reshape(1, 1, -1, 1, 1)
    return x


def scale_error(x: np.ndarray, y: np.ndarray) -> float:
    """How far the slope of y over x (1, C, d, h, w) is off 1 / deviation, the worst of all channels."""
    off = []
    for a, b in zip(x[0], y[0], strict=True):
        slope, _ = np.polyfit(a[::9, ::7, ::5].ravel().astype(np.float64), b[::9, ::7, ::5].ravel(), 1)
        off.append(abs(slope * np.sqrt(a.var(dtype=np.float64) + 1e-5) - 1))
    return max(off)


def fp32(name: str) -> Runtime:
    """A runtime, on two threads."""
    pytest.importorskip(name, reason="not the runtime here")
    return choose_runtime(name, 2)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("channels", "convolved"), [(8, False), (16, True)])
def test_scale_is_exact_in_a_large_window(name: str, channels: int, convolved: bool, tmp_path: Path) -> None:
    graph = fp32(name).load(written(channels, convolved, tmp_path), "fp32")
    x = image(channels, WINDOW)
    assert scale_error(x, graph({"x": x})["y"]) < LIMIT


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (1, 3, 2), (5, 4, 7)])
def test_the_smallest_windows_are_normed(name: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    """One voxel is its own mean, and what comes out is the shift: 0 in a new network."""
    x = image(8, shape)
    found = fp32(name).load(written(8, False, tmp_path), "fp32")({"x": x})["y"]
    exact = x.astype(np.float64)
    mean, variance = exact.mean((2, 3, 4), keepdims=True), exact.var((2, 3, 4), keepdims=True)
    np.testing.assert_allclose(found, (exact - mean) / np.sqrt(variance + 1e-5), atol=2e-5)
