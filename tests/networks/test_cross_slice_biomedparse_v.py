"""BiomedParse-V whose slices see each other, in pixel decoder and queries alone."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor, nn  # noqa: E402

from tests.networks.test_biomedparse_v import made  # noqa: E402
from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice  # noqa: E402
from vesal.networks.biomedparse_v import BiomedParseV  # noqa: E402
from vesal.networks.boltzformer import Decoded, sampled_by  # noqa: E402
from vesal.networks.cross_slice import across_slices  # noqa: E402
from vesal.networks.query_decoder import CrossAttention  # noqa: E402
from vesal.weights.convert.graphs import trace  # noqa: E402

PROMPTS, WORDS = 3, 5


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


def network(cross: CrossSlice = NO_CROSS_SLICE) -> BiomedParseV:
    """A tiny one with random weights, always the same."""
    model = made(0)
    model.look_across(cross)
    return model


def given(slices: int) -> tuple[Tensor, Tensor]:
    """Packed slices and words."""
    made_by = torch.Generator().manual_seed(1)
    image = torch.rand(slices, 3, 64, 64, generator=made_by) * 255
    return image, torch.randn(WORDS, PROMPTS, 32, generator=made_by)


def outputs(model: BiomedParseV, image: Tensor, words: Tensor) -> Decoded:
    """In the shared form."""
    return model.decode(model.encode(image), words)


def assert_equal(a: Decoded, b: Decoded) -> None:
    """To the bit."""
    assert torch.equal(a.masks, b.masks) and torch.equal(a.existence, b.existence)


@torch.no_grad()
def test_no_heads_are_the_network_without_it_to_the_bit() -> None:
    image, words = given(4)
    assert_equal(outputs(made(0), image, words), outputs(network(CrossSlice(heads=0)), image, words))
    assert_equal(made(0)(image, words), network(CrossSlice(heads=0))(image, words))
    crossed = network(CrossSlice(heads=2))
    crossed.look_across(NO_CROSS_SLICE)
    assert_equal(outputs(made(0), image, words), outputs(crossed, image, words))


@pytest.mark.parametrize("slices", [1, 2])
@torch.no_grad()
def test_a_run_that_is_no_longer_than_the_offset_is_too(slices: int) -> None:
    image, words = given(slices)
    crossed = network(CrossSlice(heads=2, offset=2))
    assert_equal(outputs(made(0), image, words), outputs(crossed, image, words))
    assert_equal(made(0)(image, words), crossed(image, words))


def test_no_parameter_is_added() -> None:
    assert network(CrossSlice(heads=2)).state_dict().keys() == made(0).state_dict().keys()


def test_only_pixel_decoder_and_queries_look_across() -> None:
    model = network(CrossSlice(heads=1))
    crossed = {
        name
        for name, module in model.named_modules()
        if isinstance(module, CrossAttention) and module.cross.heads
    }
    parts = {name.split("_head.")[1].split(".layers")[0].split("_layers")[0] for name in crossed}
    assert parts == {
        "pixel_decoder.transformer.encoder",
        "predictor.initial_self_attention_layer.self_attn",
        "predictor.transformer_cross_attention",
        "predictor.transformer_self_attention",
    }
    assert len(crossed) == 1 + 1 + 3 + 3


def seen(found: Decoded, image: Tensor, t: int) -> list[int]:
    """Slices of the input that the masks of slice t depend on."""
    (gradient,) = torch.autograd.grad(found.masks[t].square().sum(), image, retain_graph=True)
    return gradient.abs().amax((1, 2, 3)).nonzero().flatten().tolist()


@pytest.mark.parametrize("part", ["pixel_decoder", "predictor"])
def test_either_part_sees_the_slice_at_the_offset(part: str) -> None:
    image, words = given(5)
    model = network(CrossSlice(heads=1, offset=3))
    for attention in getattr(model, part).slice_attentions():
        attention.cross = NO_CROSS_SLICE
    found = outputs(model, image.requires_grad_(), words)
    assert [seen(found, image, t) for t in range(5)] == [[0, 3], [1, 4], [2], [3], [4]]


@torch.no_grad()
def test_prompts_that_share_the_image_are_those_that_repeat_it() -> None:
    image, words = given(4)
    crossed = network(CrossSlice(heads=2, offset=1))
    shared, plain = outputs(crossed, image, words), crossed(image, words)
    torch.testing.assert_close(shared.masks, plain.masks, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(shared.existence, plain.existence, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(shared.masks, outputs(made(0), image, words).masks, atol=1e-3)
    alone = outputs(crossed, image, words[:, 1:2])
    torch.testing.assert_close(alone.masks[:, 0], shared.masks[:, 1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_sampling_keeps_the_masks_of_the_slice_itself() -> None:
    """In either form the same draws give the same result."""
    image, words = given(3)
    crossed, queries = network(CrossSlice(heads=2, offset=1)), made(0).sizes.decoder.queries
    memory = crossed.encode(image)
    shared = [torch.rand(3, 4, PROMPTS, queries, key.shape[1]) for key in memory.keys]
    repeated = [one.transpose(1, 2).flatten(0, 1) for one in shared]
    found = crossed.decode(memory, words, sampled_by([one.flatten(2, 3) for one in shared]))
    plain = crossed(image, words, sampled_by(repeated))
    torch.testing.assert_close(found.masks, plain.masks, atol=1e-4, rtol=1e-4)


def test_more_heads_than_the_network_has_are_refused() -> None:
    model = made(0)
    with pytest.raises(ValueError, match="5 heads .* has 4"):
        model.look_across(CrossSlice(heads=5))
    assert not any(attention.cross.heads for attention in model.pixel_decoder.slice_attentions())


@pytest.mark.parametrize("slices", [1, 2, 5])
@torch.no_grad()
def test_a_traced_graph_takes_any_number_of_slices_and_prompts(tmp_path: Path, slices: int) -> None:
    """Of an attention of queries, whose rows are slices and prompts: the free axes of a converted decoder."""

    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            """(S, P, heads, L, d) -> same."""
            return across_slices(x.flatten(0, 1), (2, -1), x.shape[0]).reshape(x.shape)

    free = {"x": {0: "slices", 1: "prompts"}, "y": {0: "slices", 1: "prompts"}}
    graph = trace(Rows(), [torch.randn(3, 2, 4, 2, 3)], ["x"], ["y"], free, tmp_path / "rows.onnx")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for prompts in (1, 3):
        x = torch.randn(slices, prompts, 4, 2, 3)
        (found,) = session.run(None, {"x": x.numpy()})
        wanted = np.stack([across_slices(x[:, p], (2, -1)).numpy() for p in range(prompts)], 1)
        assert np.array_equal(found, wanted)
