"""VoxTell: its recorded outputs number for number, and what the prompts of a window share."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor, nn  # noqa: E402

from tests.networks.recorded_voxtell import FOLDER, LIMIT, NETWORKS, Recorded, is_used  # noqa: E402
from vesal.networks.voxtell import VOXTELL, VoxTell, voxtell_sizes_of  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda given: f"{given[0]}-{given[2]}")
def recorded(request: pytest.FixtureRequest, shared: Path) -> Recorded:
    """A cube, and a window of three different sides: a mistaken axis or order of tokens would show."""
    return Recorded(shared, *request.param)


@contextmanager
def watched(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """Outputs of modules, call by call, by the name given here."""
    seen: dict[str, list[Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen[name].append(out))
        for name, module in modules.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_every_recorded_tensor_of_the_plain_way(recorded: Recorded) -> None:
    network = recorded.network
    layers = network.transformer_decoder.layers
    parts = {f"query_layer_{i}": layer for i, layer in enumerate(layers)}
    parts |= {"query_out": network.transformer_decoder}
    parts |= {f"dec_up_{i}": part for i, part in enumerate(network.decoder.transpconvs)}
    parts |= {f"dec_conv_{i}": part for i, part in enumerate(network.decoder.stages)}
    with watched(parts) as seen:
        recorded.check("logits", network(recorded.image, recorded.text))
    for i in range(len(layers)):
        recorded.check(f"query_layer_{i}", seen[f"query_layer_{i}"][0].transpose(0, 1))
    recorded.check("query_out", seen["query_out"][0].transpose(0, 1))
    recorded.check("query_in", network.queries(recorded.text).transpose(0, 1))
    for i, head in enumerate(network.project_to_decoder_channels):
        recorded.check(f"head_{i}", head(seen["query_out"][0]))
    for name in recorded.stored:
        if name.startswith("p") and "_dec_" in name and "fused" not in name:
            prompt, part = name.split("_", 1)
            recorded.check(name, seen[part][int(prompt[1:])])


@torch.no_grad()
def test_features_and_tokens(shared: Path) -> None:
    recorded = Recorded(shared, *NETWORKS[-1])
    levels = recorded.network.encoder(recorded.image)
    for i, level in enumerate(levels):
        recorded.check(f"skip_{i}", level)
    recorded.check("memory_tokens", recorded.network.tokens(levels).transpose(0, 1))
    recorded.check("pos_embed", recorded.network.pos_embed)


@torch.no_grad()
def test_what_prompts_share_changes_nothing(recorded: Recorded) -> None:
    network = recorded.network
    memory = network.encode(recorded.image)
    logits = network.decode(memory, network.queries(recorded.text))
    recorded.check("logits", logits)
    plain = network(recorded.image, recorded.text)
    assert float((logits - plain).abs().max()) <= LIMIT * float(plain.max() - plain.min())


@torch.no_grad()
def test_a_prompt_does_not_hang_on_the_others(recorded: Recorded) -> None:
    network = recorded.network
    memory, queries = network.encode(recorded.image), network.queries(recorded.text)
    together = network.decode(memory, queries)
    alone = network.decode(memory, queries[:, -1:])
    assert float((together[:, -1:] - alone).abs().max()) <= LIMIT * float(alone.max() - alone.min())


def test_sizes_are_read_from_the_published_names(shared: Path) -> None:
    """Of the reduced network, whose names are those of the published file."""
    lines = (shared / FOLDER / "net/A_keys.txt").read_text().splitlines()
    shapes = dict(read_line(line) for line in lines)
    used = {name: shape for name, shape in shapes.items() if is_used(name)}
    sizes = voxtell_sizes_of(used)
    assert sizes.blocks == VOXTELL.blocks and sizes.layers == VOXTELL.layers
    assert sizes.features == (4, 6, 8, 10, 12, 12) and sizes.maps == 4 and sizes.tokens == 64
    assert (sizes.width, sizes.text, sizes.text_inner, sizes.inner, sizes.head_inner) == (56, 20, 36, 52, 44)
    assert {name: tuple(v.shape) for name, v in VoxTell(sizes).state_dict().items()} == used


def test_live_parameters_of_the_published_size() -> None:
    """As counted of the published network: 339,291,552 that are run, and the buffer of positions."""
    with torch.device("meta"):
        network = VoxTell(VOXTELL)
    assert sum(p.numel() for p in network.parameters()) == 339_291_552
    assert network.pos_embed.shape == (1728, 1, 2048)


def read_line(line: str) -> tuple[str, tuple[int, ...]]:
    """A name and its shape, as they are listed."""
    name, shape = line.split("\t")
    return name, tuple(map(int, re.findall(r"\d+", shape)))
