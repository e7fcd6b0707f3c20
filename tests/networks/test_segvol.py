"""SegVol as a whole: the recorded outputs number for number, and the published names."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_segvol import (  # noqa: E402
    COMBINATIONS,
    HEADS,
    asked_of,
    assert_recorded,
    read_recorded,
    read_shapes,
    recorded_network,
)
from vesal.networks.clip_text import ClipSizes  # noqa: E402
from vesal.networks.point_prompts import (  # noqa: E402
    BACKGROUND,
    FIRST_CORNER,
    FOREGROUND,
    PADDING,
    SECOND_CORNER,
    TEXT,
    sparse_tokens,
)
from vesal.networks.segvol import (  # noqa: E402
    CLIP,
    SEGVOL,
    SegVol,
    SegVolSizes,
    enlarged,
    random_network,
    segvol_sizes_of,
)
from vesal.networks.segvol_decoder import DecoderSizes  # noqa: E402
from vesal.networks.volume_vit import VitSizes  # noqa: E402

PARAMETERS = 180_890_064
"""Of the published network."""
SMALL = SegVolSizes(
    VitSizes((2, 3, 4), (4, 16, 16), 32, 48, 2, 4),
    ClipSizes(50, 9, 32, 48, 2, 4),
    DecoderSizes((2, 3, 4), 32, 8, 4, 48, 16, 2, 24),
)
"""Sizes of which no two that are exchanged easily are equal."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network(shared: Path) -> SegVol:
    """The reduced network of the fixtures."""
    return recorded_network(shared)


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Tensor]:
    """All recorded arrays."""
    return read_recorded(shared)


@torch.no_grad()
def test_the_image_encoder_block_by_block(network: SegVol, recorded: dict[str, Tensor]) -> None:
    encoder = network.image_encoder
    x = encoder.patch_embedding(recorded["image"])
    assert_recorded(x, recorded["patch_embed"])
    assert len(encoder.blocks) == 3
    for number, block in enumerate(encoder.blocks):
        x = block(x)
        assert_recorded(x, recorded[f"enc_block{number}"])
    assert_recorded(encoder(recorded["image"]), recorded["enc_out"])
    assert_recorded(network.encode(recorded["image"]), recorded["image_embedding"])


@torch.no_grad()
def test_texts(network: SegVol, recorded: dict[str, Tensor]) -> None:
    """Padding is without effect, and so is how much of it there is."""
    ids = recorded["input_ids"]
    assert_recorded(network.encode_text(ids), recorded["text_embedding"])
    length = int(recorded["attention_mask"][0].sum())
    assert_recorded(network.encode_text(ids[:1, :length]), recorded["text_embedding"][:1])


@torch.no_grad()
def test_what_an_absent_mask_and_places_add(network: SegVol, recorded: dict[str, Tensor]) -> None:
    assert_recorded(network.places.transpose(1, 2).reshape(recorded["dense_pe"].shape), recorded["dense_pe"])
    nothing = network.prompt_encoder.no_mask_embed.weight
    assert_recorded(
        nothing.reshape(1, -1, 1, 1, 1).expand(recorded["dense"].shape).numpy(), recorded["dense"]
    )


@torch.no_grad()
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_every_combination_of_prompts(network: SegVol, recorded: dict[str, Tensor], combination: str) -> None:
    """Tokens, masks in both forms, and the quality that nobody uses."""
    asked = asked_of(recorded, combination)
    assert_recorded(network.prompt_encoder(*asked[:3]), recorded[f"{combination}_sparse"])
    found = network(recorded["image_embedding"], *asked)
    wanted = recorded[f"{combination}_lowres"]
    assert_recorded(found.logits[:, None], wanted)
    assert_recorded(network.decode(recorded["image_embedding"], *asked)[:, None], wanted)
    # One number alone has no range.
    assert torch.allclose(found.quality, recorded[f"{combination}_iou"], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("combination", ["text", "text_box"])
def test_on_the_voxels_of_the_window(network: SegVol, recorded: dict[str, Tensor], combination: str) -> None:
    asked = asked_of(recorded, combination)
    logits = network.decode(network.encode(recorded["image"]), *asked)
    assert_recorded(enlarged(logits, (16, 64, 96))[:, None], recorded[f"{combination}_logits"])


@torch.no_grad()
@pytest.mark.parametrize("combination", ["text", "text_box"])
def test_without_the_products_with_the_text(
    network: SegVol, recorded: dict[str, Tensor], combination: str
) -> None:
    """The token of the text stays."""
    asked = asked_of(recorded, combination)._replace(with_text=torch.zeros(1))
    wanted = recorded[f"{combination}_lowres_without_sim"]
    assert_recorded(network(recorded["image_embedding"], *asked).logits[:, None], wanted)
    assert_recorded(network.decode(recorded["image_embedding"], *asked)[:, None], wanted)


@torch.no_grad()
def test_inside_the_decoder(network: SegVol, recorded: dict[str, Tensor]) -> None:
    found = network(recorded["image_embedding"], *asked_of(recorded, "text_box"))
    assert_recorded(found.tokens, recorded["text_box_hs"])
    assert_recorded(found.image, recorded["text_box_src"])
    assert_recorded(found.upscaled, recorded["text_box_upscaled"])


def test_tokens_come_in_the_released_order() -> None:
    """Points, a padding point where there is no box, the box, the text."""
    points, labels = torch.rand(2, 3, 3), torch.tensor([[1, 0, -1]] * 2)
    box = torch.tensor([[0.0, 1, 2, 3, 4, 5]] * 2)
    places, kinds = sparse_tokens(points, labels, box, True)
    assert kinds.tolist() == [[FOREGROUND, BACKGROUND, PADDING, FIRST_CORNER, SECOND_CORNER, TEXT]] * 2
    assert torch.equal(places[:, :3], points)
    assert places[0, 3:].tolist() == [[0, 1, 2], [3, 4, 5], [0, 0, 0]]
    assert sparse_tokens(points, labels, None, True)[1].tolist() == [[1, 0, -1, PADDING, TEXT]] * 2
    assert sparse_tokens(None, None, box, False)[1].tolist() == [[FIRST_CORNER, SECOND_CORNER]] * 2
    assert sparse_tokens(with_text=True)[1].tolist() == [[TEXT]]


@torch.no_grad()
def test_depth_and_height_are_exchanged_as_released() -> None:
    """A point's depth counts in the window's height; the image's own places have height first."""
    encoder = random_network(SMALL, 3).prompt_encoder
    encoder.pe_layer.positional_encoding_gaussian_matrix.zero_()
    encoder.pe_layer.positional_encoding_gaussian_matrix[:, :3] = torch.eye(3) / 8
    d, h, w = SMALL.image.window_dhw
    place = torch.tensor([[[3.0, 5.0, 7.0]]])
    encoded = encoder(place, torch.tensor([[FOREGROUND]]), torch.zeros(1, 32))
    encoded = encoded - encoder.point_embeddings[1].weight
    wanted = torch.sin(torch.pi / 4 * (2 * torch.tensor([3.5 / h, 5.5 / d, 7.5 / w]) - 1))
    assert torch.allclose(encoded[0, 0, :3], wanted, atol=1e-5)
    second = encoder.dense_places((2, 3, 4))[0, 12]  # d 1, h 0, w 0
    wanted = torch.sin(torch.pi / 4 * (2 * torch.tensor([0.5 / 3, 1.5 / 2, 0.5 / 4]) - 1))
    assert torch.allclose(second[:3], wanted, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("prompts,tokens", [(1, 1), (3, 2), (2, 7)])
def test_both_forms_are_one_network(prompts: int, tokens: int) -> None:
    """With biases and scales that no initialisation has, each prompt by itself or with others."""
    network, make = random_network(SMALL, 5), torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=make)
    embedding = torch.randn(1, 32, 2, 3, 4, generator=make)
    places = 40 * torch.rand(prompts, tokens, 3, generator=make)
    kinds = torch.randint(-1, 5, (prompts, tokens), generator=make)
    text = torch.randn(prompts, 32, generator=make)
    with_text = torch.tensor([1.0, 0, 1])[:prompts]
    plain = network(embedding, places, kinds, text, with_text).logits
    ours = network.decode(embedding, places, kinds, text, with_text)
    assert ours.shape == plain.shape == (prompts, 8, 12, 16)
    assert (ours - plain).abs().max() <= 2e-5 * (plain.max() - plain.min())
    alone = network.decode(embedding, places[:1], kinds[:1], text[:1], with_text[:1])
    assert (ours[:1] - alone).abs().max() <= 2e-5 * (plain.max() - plain.min())


def test_another_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 8, 48, 48\); wanted is \(B, 1, 8, 48, 64\)"):
        random_network(SMALL, 0).encode(torch.zeros(1, 1, 8, 48, 48))


def test_the_published_names_and_sizes(shared: Path) -> None:
    """Every tensor of the published list but a buffer of old transformers, with its shape."""
    listed = {name.removeprefix("module."): shape for name, shape in read_shapes(shared).items()}
    del listed[f"{CLIP}embeddings.position_ids"]
    with torch.device("meta"):
        network = SegVol()
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == listed
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS
    assert segvol_sizes_of(listed, 12, 8) == SEGVOL


def test_sizes_come_from_the_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in random_network(SMALL, 0).state_dict().items()}
    assert segvol_sizes_of(shapes, HEADS, HEADS) == SMALL
    other = replace(SMALL, image=replace(SMALL.image, patch_dhw=(16, 8, 8)))
    assert segvol_sizes_of(shapes, HEADS, HEADS, (16, 8, 8)) == other
