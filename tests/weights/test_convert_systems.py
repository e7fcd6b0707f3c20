"""A system is one file and one line of the registry: a third one, made up here, is converted with both."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from onnx import ModelProto  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from tests.weights.made import make  # noqa: E402
from vesal.inference.planning.manifest import Provenance  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.weights.convert import __main__ as command  # noqa: E402
from vesal.weights.convert.graphs import FREE_AXES, trace  # noqa: E402
from vesal.weights.convert.keymap import Part, Shapes  # noqa: E402
from vesal.weights.convert.one_file import OneFileSystem  # noqa: E402
from vesal.weights.convert.parts import BIOLORD_TEXT  # noqa: E402
from vesal.weights.convert.system import Geometry, StageFile, System  # noqa: E402
from vesal.weights.convert.systems import SYSTEMS  # noqa: E402

WIDTH = 24


@dataclass(frozen=True)
class TinySizes:
    """See ``system.StageSizes``."""

    query: int = WIDTH
    side_multiple: int = 1


class Tiny(nn.Module):
    """One convolution, and a product with the queries; axes (d, h, w), unlike those of Medal S and SAT."""

    sizes = TinySizes()

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv3d(1, WIDTH, 3, padding=1)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """image (1, 1, d, h, w), text (1, N, E) -> logits (1, N, d, h, w)."""
        return torch.einsum("bnc,bcdhw->bndhw", text, self.features(image / 255))


def tiny_names(published: Iterable[str]) -> dict[str, str]:
    return {name.removeprefix("net."): name for name in published if name.startswith("net.")}


def tiny_tensors(shapes: Shapes) -> list[str]:
    return ["features.weight", "features.bias"]


class TinyEncoder(nn.Module):
    """What does not depend on the prompts; tokens and positions are of no use to this network."""

    def __init__(self, network: Tiny) -> None:
        super().__init__()
        self.features = network.features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.features(image / 255)
        tokens = features.mean((3, 4)).transpose(1, 2)
        return features, tokens, tokens[0]


class TinyEmbed(nn.Module):
    """The queries as they are."""

    def forward(self, tokens: Tensor, positions: Tensor, text: Tensor) -> Tensor:
        return text + 0 * (tokens.sum() + positions.sum())


def tiny_graphs(network: Tiny, path: Path) -> dict[str, ModelProto]:
    tokens, text = torch.rand(1, 4, WIDTH), torch.rand(1, 2, WIDTH)
    encoded = ("features", "tokens", "positions")

    def export(
        module: nn.Module, given: list[Tensor], names: tuple[str, ...], outputs: tuple[str, ...]
    ) -> ModelProto:
        free = {name: FREE_AXES[name] for name in (*names, *outputs)}
        return trace(module, given, names, outputs, free, path)

    return {
        "encoder": export(TinyEncoder(network), [torch.rand(1, 1, 4, 5, 6)], ("image",), encoded),
        "embed": export(TinyEmbed(), [tokens, tokens[0], text], (*encoded[1:], "text"), ("masks",)),
    }


@torch.no_grad()
def tiny_logits(
    network: Tiny, image: np.ndarray, queries: np.ndarray, boxes: np.ndarray | None
) -> np.ndarray:
    return network(torch.from_numpy(image), torch.from_numpy(queries)[None])[0].numpy()


TINY = System(
    name="tiny",
    title="Tiny",
    files=(StageFile("net", "fine", "its network", "tiny.pt", Geometry((16, 24, 32), (2.0, 1.0, 1.0))),),
    network=Part("Tiny", lambda shapes: Tiny(), tiny_tensors, tiny_names),
    text=BIOLORD_TEXT,
    graphs=tiny_graphs,
    logits=tiny_logits,
    provenance=Provenance(paper="Nobody et al.", commit="0123456", code_licence="MIT"),
)


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The line of the registry, a checkpoint, and the command that converts it."""
    monkeypatch.setitem(SYSTEMS, TINY.name, TINY)
    torch.set_num_threads(1)
    torch.manual_seed(3)
    made = make(tmp_path, "sat").arguments
    state = {f"net.{name}": value for name, value in Tiny().state_dict().items()}
    torch.save({"step": 5, "model_state_dict": state | {"optimizer": torch.ones(2)}}, tmp_path / "tiny.pt")
    return ["tiny", "--net", str(tmp_path / "tiny.pt"), *made[made.index("--text") :], "--no-text"]


def test_a_third_system_is_converted(arguments: list[str], tmp_path: Path) -> None:
    assert command.main(arguments) == 0
    profile = read_profile(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    fine = told["network"]["fine"]
    assert set(told["graphs"]) == {"fine"} and set(told["graphs"]["fine"]) == {"encoder", "embed"}
    assert [(rule["name"], rule["role"]) for rule in told["stages"]] == [("fine", "refine")]
    assert fine["window_dhw"] == [16, 24, 32] and fine["query"] == WIDTH and not fine["prompts"]
    assert fine["agreement"]["fp32"]["worst"] < 1e-4 and fine["measured_dhw"] == [16, 24, 32]
    assert profile.name == "tiny" and profile.provenance.paper == "Nobody et al."
    assert profile.provenance.files["fine"].step == 5


def test_its_names_are_its_own_key_map(arguments: list[str], caplog: pytest.LogCaptureFixture) -> None:
    at = arguments.index("--net") + 1
    arguments[at] = arguments[arguments.index("--text") + 1]
    assert command.main(arguments) == 2
    assert "lacks features.weight, features.bias (2) of the 2 tensors of Tiny" in caplog.text


@pytest.mark.usefixtures("arguments")
def test_it_is_listed_with_its_files_and_licence(capsys: pytest.CaptureFixture) -> None:
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("tiny"))
    assert row.split("  ", 1)[0] == "tiny" and "--net" in row and "tiny.pt" in row
    assert "MIT" in row and "Nobody et al." in row


def test_the_list_names_every_system_and_file(capsys: pytest.CaptureFixture) -> None:
    assert command.main(["--list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    shown = "\n".join(lines)
    for system in SYSTEMS.values():
        assert any(line.startswith(f"{system.name} ") for line in lines)
        assert system.provenance.paper in shown
        assert all(f"--{file.argument} " in shown and file.published_as in shown for file in system.given)
    at = head.index("of weights")
    for line in lines:
        if not line.startswith(" "):
            known = SYSTEMS[line.split()[0]].provenance.weights_licence
            assert line[at:].startswith(f"{known or '-'} "), "where none is known, none is told"


def test_a_command_without_a_system_names_them(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2 and "medal-s, sat" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["folder", "keymap", "verify", "text", "system"])
def test_the_rest_of_the_converter_imports_no_system(root: Path, name: str) -> None:
    text = (root / "weights" / "convert" / f"{name}.py").read_text()
    assert not re.search(
        r"^from vesal\.(networks\.(sat|medal_s)|weights\.convert\.systems)", text, re.MULTILINE
    )


SEGMENTING = {name: system for name, system in SYSTEMS.items() if isinstance(system, System | OneFileSystem)}
"""A backbone is fine-tuned first, and has no rules of its own."""


@pytest.mark.parametrize("system", SEGMENTING.values(), ids=SEGMENTING.keys())
def test_a_system_has_its_rules_and_stages(system: System) -> None:
    assert SYSTEMS[system.name] is system
    assert system.profile is not None and (system.profile / "profile.json").is_file()
    assert len({file.stage for file in system.files}) == len(system.files)
