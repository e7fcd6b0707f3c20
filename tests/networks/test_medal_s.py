"""Medal S: its recorded outputs number for number, and what its spatial prompts may and may not touch."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor  # noqa: E402

from vesal.networks.medal_s import MEDAL_S, MedalS, align_prompts, complementary_passes, prompt_union  # noqa: E402
from vesal.networks.sat import Sizes, sizes_of  # noqa: E402
from vesal.weights.text.export import read_safetensors  # noqa: E402

LIMIT = 1e-4
"""Largest difference of logits in fp32 that issue 7 allows."""
TINY = Sizes(2, (4, 4, 8, 8, 8, 8), 2, 24, 24, 16, 32, 2)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def published(shared: Path) -> MedalS:
    """The reduced network of the fixtures."""
    tensors = read_safetensors((shared / "fixtures/medals/model_small.safetensors").read_bytes())
    used = {name: value for name, value in tensors.items() if ".norm1." not in name}
    model = MedalS(sizes_of({name: tuple(value.shape) for name, value in used.items()}))
    model.load_state_dict(used)
    return model.eval()


class Recorded:
    """One recorded forward pass."""

    def __init__(self, path: Path) -> None:
        self.stored = dict(np.load(path))
        self.image = torch.from_numpy(self.stored["image"].astype(np.float32))[None, None]
        self.queries = torch.from_numpy(self.stored["queries"])[None]
        labels = torch.from_numpy(self.stored["labels"])
        self.prompt = torch.stack([labels == i + 1 for i in range(self.queries.shape[1])]).float()[None]

    def off(self, name: str, logits: Tensor, every: int = 1) -> float:
        """Largest difference from what is stored of every so manieth voxel."""
        seen = logits[0, :, ::every, ::every, ::every].numpy()
        assert seen.shape == self.stored[name].shape
        return float(np.abs(seen - self.stored[name]).max())


@pytest.fixture(scope="module", params=["A", "B"])
def recorded(request: pytest.FixtureRequest, shared: Path) -> Recorded:
    """A cube, and a window of three different sides: a mistaken axis would show."""
    return Recorded(shared / f"fixtures/medals/forward_{request.param}.npz")


@torch.no_grad()
def test_recorded_logits_without_prompts(published: MedalS, recorded: Recorded) -> None:
    logits = published(recorded.image, recorded.queries, torch.zeros_like(recorded.prompt))
    assert recorded.off("logits_zero_prompt", logits) < LIMIT


@torch.no_grad()
def test_recorded_logits_with_prompts(published: MedalS, recorded: Recorded) -> None:
    logits = published(recorded.image, recorded.queries, recorded.prompt, prompt_union(recorded.prompt))
    assert recorded.off("logits_label_prompt_sub2", logits, 2) < LIMIT


@torch.no_grad()
def test_recorded_logits_without_fusion(published: MedalS, recorded: Recorded) -> None:
    logits = published(recorded.image, recorded.queries, None, prompt_union(recorded.prompt))
    assert recorded.off("logits_sc_only_sub4", logits, 4) < LIMIT


@torch.no_grad()
def test_recorded_steps_on_the_way(published: MedalS, recorded: Recorded) -> None:
    channels = torch.cat([recorded.image, prompt_union(recorded.prompt)], 1)
    levels = published.backbone.encoder(channels)
    for level, every in ((0, 4), (1, 4), (2, 2), (3, 1), (4, 1), (5, 1)):
        assert recorded.off(f"skip{level}_sub", levels[level], every) < LIMIT
    pixel, tokens, positions = published.encode(channels)
    masks = published.embed_masks(tokens, positions, recorded.queries)
    for name, value in (
        ("image_tokens", tokens[0]),
        ("pos_embedding", positions),
        ("mask_embedding", masks[0]),
    ):
        assert np.abs(value.numpy() - recorded.stored[name]).max() < LIMIT
    assert recorded.off("decoder_out_sub4", pixel, 4) < LIMIT
    assert recorded.off("fused_pixel_sub4", published.fuse(pixel, masks, recorded.prompt), 4) < LIMIT


@torch.no_grad()
def test_recorded_complementary_passes(published: MedalS, recorded: Recorded) -> None:
    """Stage 2 with blocks of 8, then the refinement of an instance with blocks of 4, as recorded."""
    image, queries = recorded.image, recorded.queries
    blocks = {side: torch.from_numpy(recorded.stored[f"{name}_b{side}_blockmask"]) for name, side in PASSES}
    logits = complementary_passes(published, image, queries, recorded.prompt, blocks[8], 8)
    assert recorded.off("stage2_b8_pred", logits) < LIMIT
    bits = np.unpackbits(recorded.stored["refine_b4_prompt_bits"])[: logits.numel()].reshape(logits.shape)
    again = torch.from_numpy(bits.astype(np.float32))
    refined = complementary_passes(published, image, queries, again, blocks[4], 4)
    assert recorded.off("refine_b4_pred_sub2", refined, 2) < LIMIT


PASSES = (("stage2", 8), ("refine", 4))


def made(shape: tuple[int, int, int] = (32, 64, 32)) -> tuple[MedalS, Tensor, Tensor, Tensor]:
    """A tiny network with an image, three queries and three prompts."""
    torch.manual_seed(0)
    model = MedalS(TINY).eval()
    g = torch.Generator().manual_seed(1)
    image = torch.rand(1, 1, *shape, generator=g) * 255
    queries = torch.randn(1, 3, TINY.query, generator=g)
    prompt = (torch.rand(1, 3, *shape, generator=g) > 0.8).float()
    return model, image, queries, prompt


def test_published_size() -> None:
    """109,414,272 parameters of inference, of which the unused norms of six layers are left out."""
    with torch.device("meta"):
        count = sum(p.numel() for p in MedalS(MEDAL_S).parameters())
    assert count == 109_414_272 - 6 * 2 * MEDAL_S.query


@torch.no_grad()
def test_queries_do_not_see_each_other_without_prompts() -> None:
    model, image, queries, prompt = made()
    none = torch.zeros_like(prompt)
    together = model(image, queries, none)
    alone = model(image, queries[:, 1:2], none[:, 1:2])
    assert torch.allclose(together[:, 1:2], alone, atol=1e-5)


@torch.no_grad()
def test_complementary_passes_judge_what_they_did_not_see() -> None:
    model, image, queries, prompt = made()
    everything = torch.ones(4, 8, 4, dtype=torch.bool)
    unseen = model(image, queries, torch.zeros_like(prompt), None)
    assert torch.allclose(
        complementary_passes(model, image, queries, prompt, everything, 8), unseen, atol=1e-5
    )
    half = everything.clone()
    half[:2] = False
    mixed = complementary_passes(model, image, queries, prompt, half, 8)
    kept = prompt.clone()
    kept[:, :, :16] = 0
    first = model(image, queries, kept, prompt_union(kept))
    assert torch.allclose(mixed[:, :, :16], first[:, :, :16], atol=1e-5)
    assert not torch.allclose(mixed[:, :, 16:], first[:, :, 16:], atol=1e-2)


def test_alignment_is_the_product_of_the_paper() -> None:
    masks = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])
    prompt = torch.zeros(1, 2, 1, 1, 2)
    prompt[0, 0, 0, 0, 0] = prompt[0, 1, 0, 0] = 1
    wanted = torch.tensor([[[[[11.0, 10.0]]], [[[22.0, 20.0]]]]])
    assert torch.equal(align_prompts(masks, prompt).reshape(1, 2, 1, 1, 2), wanted.reshape(1, 2, 1, 1, 2))
