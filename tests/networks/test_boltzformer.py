"""BoltzFormer and its text encoder: every recorded step, and sampling by hand."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor, nn  # noqa: E402

from tests.networks.recorded_biomedparse_v import (  # noqa: E402
    FOLDER,
    LAYERS,
    assert_recorded,
    read_recorded,
    read_shapes,
    read_weights,
    recorded_masks,
    recorded_text,
    shapes_of,
)
from vesal.networks.biomedparse_v import PREDICTOR, TEXT, pad_tokens  # noqa: E402
from vesal.networks.boltzformer import (  # noqa: E402
    BOLTZ_LARGE,
    BoltzFormer,
    boltz_sizes_of,
    mask_logits,
    sampled_by,
)
from vesal.networks.boltzmann import masked_chance, reset_rows  # noqa: E402
from vesal.networks.clip_text import CLIP_BASE, ClipText, clip_sizes_of  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def published(shared: Path) -> BoltzFormer:
    """The reduced decoder of the fixtures."""
    tensors = read_weights(shared, PREDICTOR)
    own = {name: value for name, value in tensors.items() if not name.startswith("language_encoder.")}
    model = BoltzFormer(boltz_sizes_of(shapes_of(own), heads=4))
    model.load_state_dict(own)
    return model.eval()


@torch.no_grad()
def test_recorded_words(shared: Path) -> None:
    """The text encoder's result, and the padded words of the group."""
    tensors = read_weights(shared, TEXT)
    encoder = ClipText(clip_sizes_of(shapes_of(tensors), heads=4)).eval()
    encoder.load_state_dict(tensors)
    recorded = read_recorded(shared, "text_last_hidden", "grounding_tokens")
    with np.load(shared / FOLDER / "net_io.npz") as stored:
        ids, lengths = recorded_text(stored, [0, 1, 2])
    encoded = encoder(ids)
    assert_recorded(encoded, recorded["text_last_hidden"])
    projection = read_weights(shared, f"{PREDICTOR}language_encoder.")["lang_proj"]
    assert_recorded(pad_tokens(encoded @ projection, lengths), recorded["grounding_tokens"])


@torch.no_grad()
def test_words_do_not_see_what_follows_them(shared: Path) -> None:
    """So a sentence may be cut behind its last token."""
    tensors = read_weights(shared, TEXT)
    encoder = ClipText(clip_sizes_of(shapes_of(tensors), heads=4)).eval()
    encoder.load_state_dict(tensors)
    ids = torch.randint(0, 500, (2, 77))
    assert torch.allclose(encoder(ids[:, :9]), encoder(ids)[:, :9], atol=1e-5)


@torch.no_grad()
def test_every_recorded_step(published: BoltzFormer, shared: Path) -> None:
    steps: dict[str, Tensor] = {}

    def keep(module: nn.Module, name: str) -> None:
        module.register_forward_hook(lambda _, inputs, found: steps.__setitem__(name, found))

    keep(published.initial_self_attention_layer, "dec_init_selfattn")
    keep(published.initial_ffn_layer, "dec_init_query")
    parts = {
        "cross": published.transformer_cross_attention_layers,
        "self": published.transformer_self_attention_layers,
        "query": published.transformer_ffn_layers,
        "cls_cross": published.classifier_cross_attention_layers,
        "cls": published.classifier_ffn_layers,
    }
    for name, layers in parts.items():
        for number, layer in enumerate(layers):
            keep(layer, f"dec{number}_{name}")
    with np.load(shared / FOLDER / "net_io.npz") as stored:
        masks = [reset_rows(one) for one in recorded_masks(dict(stored), 0, "plain")]
    given = read_recorded(shared, "ms0", "ms1", "ms2", "mask_features", "grounding_tokens")
    levels = [torch.from_numpy(given[f"ms{level}"]) for level in range(3)]
    tokens = torch.from_numpy(given["grounding_tokens"])
    features = torch.from_numpy(given["mask_features"])
    published(levels, features, tokens, lambda number, _: masks[number])
    assert len(steps) == 2 + 5 * LAYERS
    recorded = read_recorded(shared, *steps)
    for name, found in steps.items():
        assert_recorded(found.transpose(0, 1), recorded[name])
    # Masks after no layer, and after layers 0, 4 and 8.
    queries = {0: "dec_init_query", 1: "dec0_query", 5: "dec4_query", 9: "dec8_query"}
    heads = read_recorded(shared, *(f"head_masks{number}" for number in queries))
    repeated = features.repeat_interleave(3, 0)
    for number, name in queries.items():
        embedded = published.mask_embed(published.decoder_norm(steps[name]))
        assert_recorded(mask_logits(embedded, repeated), heads[f"head_masks{number}"])


def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    with torch.device("meta"):
        decoder, text = BoltzFormer(BOLTZ_LARGE), ClipText(CLIP_BASE)
    theirs = read_shapes(shared, PREDICTOR)
    own = {name: shape for name, shape in theirs.items() if not name.startswith("language_encoder.")}
    assert shapes_of(decoder.state_dict()) == own
    assert boltz_sizes_of(own) == BOLTZ_LARGE
    assert shapes_of(text.state_dict()) == read_shapes(shared, TEXT)
    assert clip_sizes_of(read_shapes(shared, TEXT)) == CLIP_BASE


def test_chance_of_a_token_by_hand() -> None:
    """Twenty tokens, two draws: one token with mask probability 1, the others with 0."""
    logits = torch.full((20,), -1e4)
    logits[3] = 1e4
    for head, warm in ((0, np.e), (2, np.e**3)):
        share = np.ones(20)
        share[3] = warm
        wanted = (1 - share / share.sum()) ** 2
        assert np.allclose(masked_chance(logits, head).numpy(), wanted, rtol=1e-5)


def test_a_row_that_is_masked_as_a_whole_is_not() -> None:
    masked = torch.tensor([[True, True], [True, False]])
    assert reset_rows(masked).tolist() == [[False, False], [True, False]]


def test_a_token_is_masked_where_its_number_is_below_the_chance() -> None:
    """Each head and query by its own numbers; the chance is the query's."""
    logits = torch.zeros(1, 2, 20)
    chance = float(masked_chance(logits[0, 0], 4)[0])
    draws = torch.full((1, 3, 2, 20), chance + 1e-4)
    draws[0, 1, 0, 7] = chance - 1e-4
    masked = sampled_by([draws] * 5)(4, logits)
    assert masked is not None
    assert masked.nonzero().tolist() == [[0, 1, 0, 7]]


def test_sizes_need_all_tensors_that_tell_them() -> None:
    with pytest.raises(KeyError, match="query_feat_"):
        boltz_sizes_of({})
    with pytest.raises(KeyError, match="token_embedding"):
        clip_sizes_of({})
