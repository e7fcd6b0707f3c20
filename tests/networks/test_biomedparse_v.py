"""BiomedParse-V as a whole: the recorded outputs number for number, and the published names."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_biomedparse_v import (  # noqa: E402
    FOLDER,
    read_shapes,
    recorded_draws,
    recorded_masks,
    recorded_network,
    recorded_text,
    shapes_of,
)
from vesal.networks.biomedparse_v import (  # noqa: E402
    BIOMEDPARSE_V,
    MEAN,
    STD,
    BiomedParseSizes,
    BiomedParseV,
    biomedparse_sizes_of,
    pad_tokens,
)
from vesal.networks.boltzformer import BoltzSizes, Decoded, Masking, sampled_by  # noqa: E402
from vesal.networks.boltzmann import reset_rows  # noqa: E402
from vesal.networks.clip_text import ClipSizes  # noqa: E402
from vesal.networks.focalnet import FocalSizes  # noqa: E402
from vesal.networks.output_convolutions import output_parts, refine_masks  # noqa: E402
from vesal.networks.pixel_decoder import PixelSizes  # noqa: E402
from vesal.weights.text.export import read_safetensors  # noqa: E402

LIMIT = 1e-4
"""Largest difference in fp32, as a share of the recorded range: about 3e-7 is found."""
BATCHES = (slice(0, 2), slice(2, 4), slice(4, 5))
"""Slices that were recorded together."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def published(shared: Path) -> BiomedParseV:
    """The reduced network of the fixtures."""
    return recorded_network(shared)


@pytest.fixture(scope="module")
def stored(shared: Path) -> dict[str, np.ndarray]:
    """All recorded arrays."""
    with np.load(shared / FOLDER / "net_io.npz") as file:
        return dict(file)


def packed(volume: np.ndarray) -> Tensor:
    """(D, H, W) -> (D, 3, H, W): each slice, the one before and the one behind it, reflected at the ends."""
    padded = np.pad(volume.astype(np.float32), ((1, 1), (0, 0), (0, 0)), mode="reflect")
    return torch.from_numpy(np.stack([padded[1:-1], padded[:-2], padded[2:]], 1))


def words_of(model: BiomedParseV, stored: dict[str, np.ndarray], prompts: list[int]) -> Tensor:
    """Padded words of some of the recorded prompts."""
    ids, lengths = recorded_text(stored, prompts)
    return pad_tokens(model.encode_text(ids), lengths)


def assert_outputs(found: Decoded, stored: dict[str, np.ndarray], run: str, part: slice) -> None:
    """Equal to the recorded outputs of some slices."""
    names = {
        "pred_gmasks": found.masks,
        "edge_masks": found.edges,
        "object_existence": found.existence,
        "existence": found.existence,
    }
    checked = 0
    for name, ours in names.items():
        if (key := f"{run}_{name}") in stored:
            theirs = np.moveaxis(stored[key], 1, 0)[part]
            assert ours.shape == theirs.shape
            assert np.abs(ours.numpy() - theirs).max() <= LIMIT * np.ptp(stored[key]), key
            checked += 1
    assert checked >= 2


def run(
    model: BiomedParseV, form: str, image: Tensor, words: Tensor, masking: Masking | None = None
) -> Decoded:
    """One run in the plain or the shared form."""
    if form == "plain":
        return model(image, words, masking)
    return model.decode(model.encode(image), words, masking)


@pytest.mark.parametrize("form", ["plain", "shared"])
@pytest.mark.parametrize("batch", range(3))
@torch.no_grad()
def test_recorded_outputs_with_the_recorded_masks(
    published: BiomedParseV, stored: dict[str, np.ndarray], form: str, batch: int
) -> None:
    part = BATCHES[batch]
    masks = [reset_rows(one) for one in recorded_masks(stored, batch, form)]
    words = words_of(published, stored, [0, 1, 2])
    found = run(published, form, packed(stored["vol_u8"])[part], words, lambda number, _: masks[number])
    assert_outputs(found, stored, "boltz", part)


@pytest.mark.parametrize("form", ["plain", "shared"])
@torch.no_grad()
def test_recorded_draws_give_the_recorded_masks(
    published: BiomedParseV, stored: dict[str, np.ndarray], form: str
) -> None:
    wanted, drawn = recorded_masks(stored, 0, form), sampled_by(recorded_draws(stored, form))
    seen = []

    def compared(number: int, logits: Tensor) -> Tensor | None:
        masked = drawn(number, logits)
        assert masked is not None and torch.equal(masked, reset_rows(wanted[number]))
        seen.append(number)
        return masked

    words = words_of(published, stored, [0, 1, 2])
    found = run(published, form, packed(stored["vol_u8"])[:2], words, compared)
    assert seen == list(range(9))
    assert_outputs(found, stored, "boltz", slice(0, 2))


@pytest.mark.parametrize("form", ["plain", "shared"])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
@torch.no_grad()
def test_full_attention_in_any_batch_of_slices(
    published: BiomedParseV, stored: dict[str, np.ndarray], form: str, batch: int
) -> None:
    words, image = words_of(published, stored, [0, 1, 2]), packed(stored["vol_u8"])
    for first in range(0, 5, batch):
        part = slice(first, min(5, first + batch))
        assert_outputs(run(published, form, image[part], words), stored, "full", part)


@torch.no_grad()
def test_negative_draws_are_full_attention(published: BiomedParseV, stored: dict[str, np.ndarray]) -> None:
    words, image = words_of(published, stored, [0, 1, 2]), packed(stored["vol_u8"])[:2]
    masking = sampled_by([one - 2 for one in recorded_draws(stored, "shared")])
    assert_outputs(run(published, "shared", image, words, masking), stored, "full", slice(0, 2))


@pytest.mark.parametrize("form", ["plain", "shared"])
@torch.no_grad()
def test_one_prompt_alone(published: BiomedParseV, stored: dict[str, np.ndarray], form: str) -> None:
    """Its words are not padded to those of longer prompts, which makes another result."""
    words = words_of(published, stored, [2])
    assert len(words) < len(words_of(published, stored, [0, 1, 2]))
    found = run(published, form, packed(stored["vol_u8"]), words)
    assert_outputs(found, stored, "full_single_tumor", slice(0, 5))
    grouped = np.moveaxis(stored["full_pred_gmasks"], 1, 0)[:, 2]
    assert np.abs(found.masks[:, 0].numpy() - grouped).max() > 1


@torch.no_grad()
def test_prompts_of_a_group_may_be_decoded_apart(
    published: BiomedParseV, stored: dict[str, np.ndarray]
) -> None:
    """As long as their words keep the group's padding."""
    words, memory = (
        words_of(published, stored, [0, 1, 2]),
        published.encode(packed(stored["vol_u8"])[:2]),
    )
    whole = published.decode(memory, words)
    for prompt in range(3):
        alone = published.decode(memory, words[:, prompt : prompt + 1])
        assert torch.allclose(alone.masks[:, 0], whole.masks[:, prompt], atol=1e-4)
        assert torch.allclose(alone.existence[:, 0], whole.existence[:, prompt], atol=1e-5)


def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    with torch.device("meta"):
        network = BiomedParseV(BIOMEDPARSE_V)
    theirs = read_shapes(shared, "")
    assert shapes_of(network.state_dict()) == theirs
    buffers = {name for name, _ in network.named_buffers()}
    assert {"pixel_mean", "pixel_std"} <= buffers
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == 371_798_778
    assert biomedparse_sizes_of(theirs) == BIOMEDPARSE_V


def test_one_mean_and_one_deviation_for_all_channels() -> None:
    network = made(0)
    assert torch.equal(network.normalised(torch.full((1, 3, 2, 2), MEAN)), torch.zeros(1, 3, 2, 2))
    network.pixel_mean.copy_(torch.tensor([0.0, 30, 60]).reshape(1, 3, 1, 1))
    network.pixel_std.copy_(torch.tensor([1.0, 2, 3]).reshape(1, 3, 1, 1))
    assert torch.equal(network.normalised(torch.full((1, 3, 1, 1), 40.0)), torch.full((1, 3, 1, 1), 5.0))
    assert (MEAN, STD) == (114.495, 57.63)


def made(output_width: int) -> BiomedParseV:
    """A tiny network with random weights."""
    torch.manual_seed(0)
    sizes = BiomedParseSizes(
        FocalSizes(3, 8, (1, 1, 1, 1), (3, 5), 2),
        PixelSizes((8, 16, 32, 64), 32, 32, 1, 16, 4),
        BoltzSizes(32, 4, 3, 16, 4, 0 if output_width else 1),
        ClipSizes(50, 8, 16, 32, 1, 4),
        output_width,
    )
    return BiomedParseV(sizes).eval()


@torch.no_grad()
def test_convolutions_on_the_masks(shared: Path) -> None:
    tensors = read_safetensors((shared / FOLDER / "conv_procedure_weights.safetensors").read_bytes())
    network = torch.nn.Module()
    for name, part in output_parts(16, 16).items():
        network.add_module(name, part)
    network.load_state_dict(tensors)
    with np.load(shared / FOLDER / "conv_procedure_io.npz") as io:
        found = refine_masks(network, torch.from_numpy(io["image"]), torch.from_numpy(io["pred_gmasks"]))
        assert np.abs(found.numpy() - io["out"]).max() <= 1e-5 * np.ptp(io["out"])


@pytest.mark.parametrize("form", ["plain", "shared"])
@torch.no_grad()
def test_a_network_with_convolutions_on_its_masks(form: str) -> None:
    """All queries are the mask's, the result has stride 2, and the sizes are read back from the tensors."""
    network, image, words = made(6), torch.rand(2, 3, 64, 64) * 255, torch.randn(5, 3, 32)
    assert biomedparse_sizes_of(shapes_of(network.state_dict()), heads=4) == network.sizes
    if form == "plain":
        found = network(image, words)
    else:
        found = network.decode(network.encode(image), words, None, image)
    assert found.edges is None
    assert found.masks.shape == (2, 3, 32, 32)
    other = network(image, words)
    assert torch.allclose(found.masks, other.masks, atol=1e-4)
    assert other.masks.std() > 0


@pytest.mark.parametrize("sides", [(64, 96), (68, 64), (100, 60)])
@torch.no_grad()
def test_both_forms_agree_at_any_size(sides: tuple[int, int]) -> None:
    """Sides that are no multiples of the coarsest stride included."""
    network, image, words = made(0), torch.rand(2, 3, *sides) * 255, torch.randn(5, 3, 32)
    plain, shared = network(image, words), network.decode(network.encode(image), words)
    for name in ("masks", "edges", "existence"):
        ours, theirs = getattr(shared, name), getattr(plain, name)
        assert torch.allclose(ours, theirs, atol=1e-4), name
    assert plain.masks.std() > 0
