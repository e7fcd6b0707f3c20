"""Text prompts on SPAD-ViT: shapes of every degree, what its prompts do, and where gradients go."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor  # noqa: E402

from vesal.networks.nano import TEXT  # noqa: E402
from vesal.networks.spad_prompted import (  # noqa: E402
    HIGHEST_DEGREE,
    PATCH,
    PromptedSizes,
    SpadPrompted,
    prompted_sizes_of,
)
from vesal.networks.spad_vit import SpadVit, SpadVitSizes  # noqa: E402

SMALL = PromptedSizes(SpadVitSizes(3, 16, 24, 3, 2, positions_dhw=(2, 4, 4)), (0, 1, 2), (8, 8, 16, 16))
DEGREES = range(HIGHEST_DEGREE + 1)


@pytest.fixture(scope="module")
def model() -> SpadPrompted:
    """A thin network with weights that are always the same."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return SpadPrompted(SMALL).eval()


def inputs(degree: int, prompts: int = 2) -> dict[str, Tensor]:
    """Inputs of a view of 1 x 2 x 3 patches, spatial prompts zero."""
    g = torch.Generator().manual_seed(1)
    shape = (16 >> degree, 32, 48)
    return {
        "image": torch.randn(1, 2, *shape, generator=g),
        "prompt": torch.zeros(1, prompts, *shape),
        "text": torch.randn(1, prompts, TEXT, generator=g),
        "side": torch.zeros(1, prompts, dtype=torch.long),
        "modality": torch.ones(1, prompts, dtype=torch.long),
    }


@pytest.mark.parametrize("degree", DEGREES)
@torch.no_grad()
def test_one_network_serves_every_spacing(model: SpadPrompted, degree: int) -> None:
    given = inputs(degree)
    logits, presence = model(**given, degree=degree)
    assert logits.shape == given["prompt"].shape
    assert presence.shape == (1, 2, 16 >> degree)
    levels = model.encode(torch.randn(1, 3, 16 >> degree, 32, 48), degree)
    assert [level.shape[1] for level in levels] == list(SMALL.widths)
    assert [tuple(level.shape[3:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert levels[3].shape[2] == 1


@torch.no_grad()
def test_degrees_above_the_highest_are_the_same(model: SpadPrompted) -> None:
    given = inputs(HIGHEST_DEGREE)
    wanted = model(**given, degree=HIGHEST_DEGREE)
    for ours, theirs in zip(model(**given, degree=HIGHEST_DEGREE + 2), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["text", "side", "modality", "prompt"])
@torch.no_grad()
def test_each_input_changes_the_masks(model: SpadPrompted, name: str) -> None:
    given = inputs(1)
    before, _ = model(**given, degree=1)
    after, _ = model(**given | {name: given[name] + 1}, degree=1)
    assert not torch.allclose(before, after, atol=1e-3)


@torch.no_grad()
def test_a_query_does_not_see_the_others(model: SpadPrompted) -> None:
    given = inputs(2)
    both, _ = model(**given, degree=2)
    one = {key: value if key == "image" else value[:, :1] for key, value in given.items()}
    torch.testing.assert_close(model(**one, degree=2)[0][:, 0], both[:, 0], atol=1e-5, rtol=1e-4)


def test_masks_teach_the_backbone_and_presence_does_not(model: SpadPrompted) -> None:
    model.zero_grad()
    model(**inputs(0), degree=0)[1].sum().backward()
    assert all(p.grad is None or not p.grad.abs().sum() for p in model.backbone.parameters())
    model(**inputs(0), degree=0)[0].sum().backward()
    # The last norm is the backbone's own, behind all of its blocks.
    without = [name for name, p in model.backbone.named_parameters() if p.grad is None]
    model.zero_grad()
    assert without == ["norm.weight", "norm.bias"]


def test_a_view_of_one_patch_is_learnt_from(model: SpadPrompted) -> None:
    """The coarsest maps have one voxel then."""
    small = copy.deepcopy(model).train()
    given = inputs(2, prompts=1)
    image, prompt = torch.randn(1, 2, 4, 16, 16), torch.zeros(1, 1, 4, 16, 16)
    logits, _ = small(**given | {"image": image, "prompt": prompt}, degree=2)
    logits.square().mean().backward()
    gradient = small.backbone.blocks[0].mlp.w1.weight.grad
    assert torch.isfinite(logits).all() and gradient is not None and torch.isfinite(gradient).all()


@torch.no_grad()
def test_it_begins_from_a_backbone_of_grey_images() -> None:
    torch.manual_seed(1)
    published, model = SpadVit(SMALL.backbone), SpadPrompted(SMALL)
    model.begin_from(published.state_dict())
    kernel = model.backbone.state_dict()[PATCH]
    torch.testing.assert_close(kernel[:, 0] + kernel[:, 1], published.state_dict()[PATCH].sum(1))
    assert not kernel[:, 2].any()
    torch.testing.assert_close(model.backbone.blocks[2].mlp.w3.weight, published.blocks[2].mlp.w3.weight)
    with pytest.raises(RuntimeError, match="pos_embed"):
        model.begin_from({k: v for k, v in published.state_dict().items() if k != "pos_embed"})


def test_sizes_are_read_from_shapes(model: SpadPrompted) -> None:
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert prompted_sizes_of(shapes, SMALL.backbone.heads, SMALL.after) == SMALL
