"""VoxTell: its recorded outputs number for number, and what the prompts of a window share."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor, nn  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

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
def watched(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """First inputs and outputs of modules, call by call, by the name given here."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda _m, given, out, name=name: seen[name].append((given[0], out)))
        for name, module in modules.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


class Softmaxes(TorchFunctionMode):
    """Keeps what every softmax gives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "softmax":
            self.seen.append(found)
        return found


@torch.no_grad()
def test_every_recorded_tensor_of_the_plain_way(recorded: Recorded) -> None:
    """All that is stored of a run, whatever it is: nothing may be left unlooked at."""
    network = recorded.network
    layers = network.transformer_decoder.layers
    parts = {f"query_layer_{i}": layer for i, layer in enumerate(layers)}
    parts |= {"query_out": network.transformer_decoder}
    parts |= {f"dec_up_{i}": part for i, part in enumerate(network.decoder.transpconvs)}
    parts |= {f"dec_conv_{i}": part for i, part in enumerate(network.decoder.stages)}
    with watched(parts) as seen, Softmaxes() as attention:
        logits = network(recorded.image, recorded.text)
    recorded.check("logits", logits)
    for name in ("query_out", *(f"query_layer_{i}" for i in range(len(layers)))):
        recorded.check(name, seen[name][0][1].transpose(0, 1))
    recorded.check("query_in", network.queries(recorded.text).transpose(0, 1))
    for i, weights in enumerate(attention.seen):
        recorded.check(f"attn_layer_{i}", weights.mean(1))
    for i, head in enumerate(network.project_to_decoder_channels):
        recorded.check(f"head_{i}", head(seen["query_out"][0][1]))
    levels = network.encoder(recorded.image)
    others = {f"skip_{i}": level for i, level in enumerate(levels)}
    others |= {"memory_tokens": network.tokens(levels).transpose(0, 1), "pos_embed": network.pos_embed}
    for name in set(others) & set(recorded.stored):
        recorded.check(name, others[name])
    for name in set(recorded.stored) - recorded.checked:
        if name == "logits_prompt3_block":
            found = logits[0, 3, 16:48, 16:48, 16:48].numpy()
            assert np.abs(found - recorded.stored[name]).max() <= LIMIT * np.ptp(recorded.stored[name])
            recorded.checked.add(name)
            continue
        prompt, part, number = re.fullmatch(r"p(\d)_dec_(up|conv|fused)_(\d)", name).groups()
        # What is fused is what the next convolution is given.
        source = f"dec_up_{int(number) + 1}" if part == "fused" else f"dec_{part}_{number}"
        recorded.check(name, seen[source][int(prompt)][part != "fused"])
    assert recorded.checked == set(recorded.stored) == {*recorded.about, *recorded.stored}


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


def test_operations_of_one_prompt_more() -> None:
    """At the published size, less than 0.60 of what the decoder takes for the first one."""
    with torch.device("meta"):
        network = VoxTell(VOXTELL)
        levels = [torch.empty(1, c, *(192 // 2**i,) * 3) for i, c in enumerate(VOXTELL.features)]
        heads = network.heads(torch.empty(1, 1, VOXTELL.width))
    heads = [head[:, 0] for head in heads]

    def counted(run: Callable[[], Any]) -> float:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops() / 1e12

    shared = network.decoder.shared(levels)
    more = counted(lambda: network.decoder.decode(*shared, heads))
    plain = counted(lambda: network.decoder(levels, heads))
    assert plain == pytest.approx(1.57, abs=0.02)
    assert counted(lambda: network.decoder.shared(levels)) + more == pytest.approx(plain, rel=1e-3)
    assert more / plain <= 0.53
