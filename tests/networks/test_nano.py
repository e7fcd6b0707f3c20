"""The default network: shapes, what its text and spatial prompts do, and what must not touch what."""

import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from vesal.networks.nano import TEXT, Nano, PointConv, SliceConv  # noqa: E402
from vesal.networks.spad import Anisotropy  # noqa: E402

WIDTHS = (8, 16, 16, 24)
SHAPES = {0: (16, 32, 16), 1: (8, 16, 32), 2: (4, 32, 16)}
"""The smallest sides of each degree on the first axis, with one other side that is larger."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As in training; small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture
def model() -> Nano:
    """A thin network with weights that are always the same."""
    torch.manual_seed(0)
    return Nano(WIDTHS).eval()


def inputs(shape: tuple[int, int, int], prompts: int = 2) -> dict[str, Tensor]:
    """Inputs of one view, spatial prompts zero."""
    g = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(1, 2, *shape, generator=g),
        "prompt": torch.zeros(1, prompts, *shape),
        "text": torch.randn(1, prompts, TEXT, generator=g),
        "side": torch.zeros(1, prompts, dtype=torch.long),
        "modality": torch.ones(1, prompts, dtype=torch.long),
    }


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("prompts", [1, 3])
def test_logits_have_the_view_s_shape_and_presence_its_slices(model: Nano, degree: int, prompts: int) -> None:
    shape = SHAPES[degree]
    logits, presence = model(**inputs(shape, prompts), degree=degree)
    assert logits.shape == (1, prompts, *shape)
    assert presence.shape == (1, prompts, shape[0])


@pytest.mark.parametrize(("degree", "deepest"), [(0, (1, 2, 1)), (1, (1, 1, 2)), (2, (1, 2, 1))])
def test_the_thick_axis_is_halved_once_less_per_degree(
    model: Nano, degree: int, deepest: tuple[int, int, int]
) -> None:
    levels = model.encode(torch.randn(1, 3, *SHAPES[degree]), degree)
    assert [level.shape[1] for level in levels] == list(WIDTHS)
    assert levels[3].shape[2:] == deepest


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_training_and_evaluation_compute_the_same(model: Nano, degree: int) -> None:
    given = inputs(SHAPES[degree])
    given["prompt"][:, 0, :, 4:9, 4:9] = 1
    with torch.no_grad():
        expected = model(**given, degree=degree)
        trained = model.train()(**given, degree=degree)
    for a, b in zip(expected, trained, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_the_collapsed_kernel_is_the_full_one_where_depth_changes_nothing(
    stride: int, training: bool
) -> None:
    torch.manual_seed(0)
    conv = SliceConv(2, 3, stride, bias=True).train(training)
    torch.nn.init.normal_(conv.bias)
    constant = torch.randn(1, 2, 1, 8, 10).expand(1, 2, 7, 8, 10)
    full, collapsed = (conv(constant, Anisotropy(degree))[0] for degree in (0, 1))
    # All but the first and last slice of the result see no border along depth.
    inner = full[:, :, 1:-1]
    torch.testing.assert_close(inner, collapsed[:, :, : inner.shape[2]], atol=1e-5, rtol=0)
    assert not torch.allclose(full[:, :, :1], collapsed[:, :, :1], atol=1e-2)  # padded with zeros there


def test_a_collapsed_kernel_keeps_depth_where_the_full_one_halves_it() -> None:
    conv = SliceConv(1, 1, stride=2)
    x = torch.zeros(1, 1, 6, 8, 8)
    assert conv(x, Anisotropy(0))[0].shape[2:] == (3, 4, 4)
    assert conv(x, Anisotropy(1))[0].shape[2:] == (6, 4, 4)


def test_a_point_convolution_is_the_same_matrix_product_either_way() -> None:
    conv = PointConv(2, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([2.0, -1.0]).reshape(1, 2, 1, 1, 1))
        conv.bias.fill_(0.5)
    x = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 3, 4)
    assert torch.equal(conv.train()(x), torch.full((1, 1, 2, 3, 4), 2.5))
    assert torch.equal(conv.eval()(x), torch.full((1, 1, 2, 3, 4), 2.5))


def test_without_a_spatial_prompt_a_query_does_not_see_the_others(model: Nano) -> None:
    both = inputs(SHAPES[0], prompts=2)
    alone = {k: v if k == "image" else v[:, :1] for k, v in both.items()}
    with torch.no_grad():
        for a, b in zip(model(**alone, degree=0), model(**both, degree=0), strict=True):
            torch.testing.assert_close(a, b[:, :1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["text", "side", "modality", "image"])
def test_each_input_changes_the_masks(model: Nano, name: str) -> None:
    given = inputs(SHAPES[0], prompts=1)
    other = given | {name: given[name] + 1}
    with torch.no_grad():
        before, after = (model(**g, degree=0)[0] for g in (given, other))
    assert (before - after).abs().max() > 1e-3


def test_the_two_sides_of_one_text_give_different_masks(model: Nano) -> None:
    given = inputs(SHAPES[0], prompts=1)
    given = {k: v if k == "image" else v.expand(-1, 2, *v.shape[2:]).clone() for k, v in given.items()}
    given["side"] = torch.tensor([[1, 2]])
    with torch.no_grad():
        logits, _ = model(**given, degree=0)
    assert (logits[0, 0] - logits[0, 1]).abs().max() > 1e-3


def test_a_spatial_prompt_reaches_its_own_and_the_other_class(model: Nano) -> None:
    """The other one by the foreground channel and the aligned features."""
    given = inputs(SHAPES[0])
    hinted = given | {"prompt": given["prompt"].clone()}
    hinted["prompt"][:, 0, 4:8, 4:8, 4:8] = 1
    with torch.no_grad():
        change = (model(**given, degree=0)[0] - model(**hinted, degree=0)[0]).abs().amax((2, 3, 4))
    assert (change > 1e-3).all()


@pytest.mark.parametrize("degree", [0, 2])
def test_presence_sends_no_gradient_into_features_and_queries(model: Nano, degree: int) -> None:
    _, presence = model.train()(**inputs(SHAPES[degree]), degree=degree)
    F.binary_cross_entropy_with_logits(presence, torch.ones_like(presence)).backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert reached == {n for n, _ in model.named_parameters() if n.startswith("presence.")}


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_the_masks_send_a_gradient_into_everything_else(model: Nano, degree: int) -> None:
    given = inputs(SHAPES[degree])
    given["prompt"][:, 0, :2] = 1
    logits, _ = model.train()(**given, degree=degree)
    logits.square().mean().backward()
    untouched = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    assert untouched == {n for n, _ in model.named_parameters() if n.startswith("presence.")}


def test_where_the_degree_is_0_presence_repeats_each_slice_of_half_resolution(model: Nano) -> None:
    with torch.no_grad():
        _, presence = model(**inputs(SHAPES[0]), degree=0)
    assert torch.equal(presence[..., 0::2], presence[..., 1::2])
