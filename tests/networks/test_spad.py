"""Spatially adaptive layers: recorded outputs, what the paper says of them, 2D weights, and their graphs."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the networks' definitions need torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from tests.networks.recorded_spad import read_meta, read_recorded, recorded_cases  # noqa: E402
from vesal.networks.spad import (  # noqa: E402
    Anisotropy,
    Inflation,
    SpadConv,
    SpadTransposedConv,
    degree_of_anisotropy,
    down_interpolated,
    inflated,
    up_interpolated,
    with_input_channels,
)
from vesal.weights.shared_file import OPSET  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of the exporter that is chosen on purpose
KERNELS = [(2, 2), (3, 2), (3, 1), (4, 4), (8, 8)]
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


def close(ours: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(ours, wanted, atol=TOLERANCE, rtol=TOLERANCE)


@torch.no_grad()
def test_every_recorded_convolution(shared: Path) -> None:
    recorded = read_recorded(shared)
    cases = recorded_cases(shared, "conv_")
    assert {(case["kernel"], case["stride"]) for case in cases} == set(KERNELS)
    for case in cases:
        base = case["key"].rsplit("_a", 1)[0]
        conv = SpadConv(2, 3, case["kernel"], case["stride"])
        conv.load_weights(recorded[f"{base}_w"], recorded[f"{base}_b"])
        at = Anisotropy(case["aniso_d"], case["num_downsamples_in"])
        assert (at.pending, at.depth_stride_down(conv.times)) == (case["pending"], case["eff_depth_stride"])
        y, after = conv(recorded[f"{case['key']}_in"], at)
        assert after == Anisotropy(case["aniso_d"], case["num_downsamples_out"])
        close(y, recorded[f"{case['key']}_out"])


@torch.no_grad()
def test_every_recorded_transposed_convolution(shared: Path) -> None:
    recorded = read_recorded(shared)
    cases = recorded_cases(shared, "tconv_")
    assert {case["stride"] for case in cases} == {2, 4}
    for case in cases:
        base = case["key"].rsplit("_a", 1)[0]
        conv = SpadTransposedConv(3, 2, case["stride"])
        conv.load_state_dict({"weight": recorded[f"{base}_w"], "bias": recorded[f"{base}_b"]})
        at = Anisotropy(case["aniso_d"], case["num_downsamples_in"])
        assert at.depth_stride_up(conv.times) == case["eff_depth_stride"]
        y, after = conv(recorded[f"{case['key']}_in"], at)
        assert after == Anisotropy(case["aniso_d"], case["num_downsamples_out"])
        close(y, recorded[f"{case['key']}_out"])


def test_recorded_kernels_of_two_dimensions(shared: Path) -> None:
    recorded = read_recorded(shared)
    flat = recorded["inflate_2d"]
    modes: tuple[Inflation, ...] = ("average", "center")
    for how in modes:
        wanted = recorded[f"inflate_{how}"]
        close(inflated(flat, wanted.shape[2], how), wanted)


def test_recorded_degrees(shared: Path) -> None:
    for row in read_meta(shared)["degree_of_anisotropy"]:
        plane = row["s_plane"]
        assert degree_of_anisotropy((row["s_slice"], plane, plane)) == row["DA_paper"], row


@pytest.mark.parametrize(
    ("spacing", "degree"),
    [
        ((8, 1, 1), 3),
        ((7.999, 1, 1), 2),
        ((4, 2, 1), 2),
        ((4, 1, 2), 2),
        ((1, 3, 3), 0),
        ((1e3, 1e-3, 1), 19),
    ],
)
def test_the_degree_is_of_the_finer_spacing_and_has_no_cap(
    spacing: tuple[float, float, float], degree: int
) -> None:
    assert degree_of_anisotropy(spacing) == degree


@pytest.mark.parametrize(
    "spacing", [(0, 1, 1), (1, -1, 1), (1, float("nan"), 1), (float("inf"), 1, 1), (1, 1)]
)
def test_lengths_that_make_no_sense_are_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="three positive lengths"):
        degree_of_anisotropy(spacing)


@torch.no_grad()
@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("degree", range(7))
def test_a_large_stride_is_as_many_small_ones(size: int, degree: int) -> None:
    """Section 4.2: 2^k is k resamplings by 2; here with kernels that average, so that both are equal."""
    times = size.bit_length() - 1
    x = torch.randn(1, 1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    at = Anisotropy(degree)
    whole, halving = SpadConv(1, 1, size, size), SpadConv(1, 1, 2, 2)
    nn.init.constant_(whole.weight, size**-3)
    nn.init.constant_(halving.weight, 2**-3)
    y, after = whole(x, at)
    step, stepwise = x, at
    for _ in range(times):
        step, stepwise = halving(step, stepwise)
    assert after == stepwise == Anisotropy(degree, times)
    close(y, step)
    close(down_interpolated(x, at, times)[0], y)


@torch.no_grad()
@pytest.mark.parametrize("degree", range(5))
def test_depth_comes_back_as_it_went(degree: int) -> None:
    x = torch.randn(1, 2, 8, 16, 16)
    at = Anisotropy(degree)
    y, deep = SpadConv(2, 2, 4, 4)(x, at)
    y, deeper = SpadConv(2, 2, 3, 2)(y, deep)
    for up in (SpadTransposedConv(2, 2, 2), SpadTransposedConv(2, 2, 4)):
        y, deeper = up(y, deeper)
    assert (y.shape, deeper) == (x.shape, at)
    small, at_small = down_interpolated(x, at, 3)
    large, back = up_interpolated(small, at_small, 3)
    assert (large.shape, back) == (x.shape, at)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
@pytest.mark.parametrize("degree", [1, 2, 3, 9])
def test_a_volume_that_is_constant_along_depth_gives_the_same_at_any_degree(
    kernel: int, stride: int, degree: int
) -> None:
    """What sum pooling is for: the values stay, only fewer slices are asked for them."""
    conv = SpadConv(2, 3, kernel, stride)
    nn.init.normal_(conv.bias)
    constant = torch.randn(1, 2, 1, 16, 24).expand(1, 2, 24, 16, 24)
    whole, _ = conv(constant, Anisotropy(0))
    apart, _ = conv(constant[:, :, :8], Anisotropy(degree))
    # Not the slices beside which padding stands.
    torch.testing.assert_close(apart[:, :, :1], whole[:, :, 1:2], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_odd_sides_are_shrunk_by_area() -> None:
    x = torch.randn(1, 1, 5, 7, 6)
    y, _ = down_interpolated(x, Anisotropy(0))
    torch.testing.assert_close(y, F.interpolate(x, size=(2, 3, 3), mode="area"))
    y, _ = down_interpolated(x, Anisotropy(1))
    torch.testing.assert_close(y, F.interpolate(x, size=(5, 3, 3), mode="area"))


def test_nearest_interpolation_repeats() -> None:
    x = torch.randn(1, 1, 2, 3, 3)
    y, _ = up_interpolated(x, Anisotropy(1, 1), 1, "nearest-exact")
    assert torch.equal(y, x.repeat_interleave(2, 3).repeat_interleave(2, 4))
    y, _ = up_interpolated(x, Anisotropy(0, 1), 1, "nearest-exact")
    assert y.shape == (1, 1, 4, 6, 6)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 3), (3, 4), (5, 1), (4, 2), (2, 1), (6, 6)])
def test_other_kernels_are_refused(kernel: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"kernel {kernel}, stride {stride}; wanted"):
        SpadConv(1, 1, kernel, stride)
    if kernel != 4:
        with pytest.raises(ValueError, match="power of two"):
            SpadTransposedConv(1, 1, 6)


@torch.no_grad()
@pytest.mark.parametrize("how", ["average", "center"])
@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
def test_weights_of_two_dimensions_give_the_same_in_every_slice(
    kernel: int, stride: int, how: Inflation
) -> None:
    flat = nn.Conv2d(3, 4, kernel, stride, 1 if kernel == 3 else 0)
    conv = SpadConv(3, 4, kernel, stride)
    conv.load_weights(flat.weight, flat.bias, how)
    x = torch.randn(1, 3, 16, 16)
    y, _ = conv(x[:, :, None], Anisotropy(8))
    torch.testing.assert_close(y[:, :, 0], flat(x), atol=1e-5, rtol=1e-5)


def test_the_two_middle_slices_share_a_kernel() -> None:
    kernel = inflated(torch.ones(1, 1, 1, 1), 4, "center")
    assert kernel.flatten().tolist() == [0, 0.5, 0.5, 0]
    with pytest.raises(ValueError, match="average or center"):
        inflated(torch.ones(1, 1, 1, 1), 4, "centre")


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_grey_image_gives_the_same_with_any_number_of_channels(channels: int) -> None:
    weight = torch.randn(4, 3, 2, 2, 2)
    grey = torch.randn(1, 1, 4, 4, 4)
    wanted = F.conv3d(grey.repeat(1, 3, 1, 1, 1), weight)
    ours = F.conv3d(grey.repeat(1, channels, 1, 1, 1), with_input_channels(weight, channels))
    close(ours, wanted)
    assert channels != 3 or with_input_channels(weight, channels) is weight


def test_weights_of_another_layer_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 2, 3, 3, 3\) came .* \(4, 2, 2, 2, 2\)"):
        SpadConv(2, 4, 2, 2).load_weights(torch.zeros(4, 1, 3, 3, 3))


class DownAndUp(nn.Module):
    """All layers one behind the other, at one degree."""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.at = Anisotropy(degree)
        self.layers = nn.ModuleList(
            [SpadConv(1, 2, 3), SpadConv(2, 3, 4, 4), SpadConv(3, 3, 3, 2), SpadTransposedConv(3, 2, 4)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, D, H, W) -> (B, 2, D, H, W)."""
        at = self.at
        for layer in self.layers:
            x, at = layer(x, at)
        x, at = down_interpolated(x, at)
        return up_interpolated(x, at, 2)[0]


@torch.no_grad()
@pytest.mark.parametrize("degree", range(6))
def test_a_graph_of_a_degree_takes_every_size(degree: int, tmp_path: Path) -> None:
    torch.manual_seed(degree)
    network, path = DownAndUp(degree).eval(), tmp_path / "graph.onnx"
    axes = {axis: {2: "d", 3: "h", 4: "w"} for axis in ("x", "y")}
    torch.onnx.export(
        network,
        (torch.randn(1, 1, 16, 16, 16),),
        str(path),
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )
    x = torch.randn(1, 1, 32, 16, 48)
    (ours,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(ours, network(x).numpy(), atol=1e-4)
