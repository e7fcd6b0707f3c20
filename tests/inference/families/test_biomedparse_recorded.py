"""Recorded runs of the public code of BiomedParse-V through the whole engine, with its reduced network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the recorded network is exported with torch")
onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import FAKE_RUNTIME, make_prompt, segment  # noqa: E402
from tests.networks.recorded_biomedparse_v import FOLDER, recorded_network  # noqa: E402
from tests.samples.biomedparse_weights import write_tokenizer  # noqa: E402
from tests.samples.slice_weights import save_manifest  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.clip_sentences import Sentences  # noqa: E402
from vesal.inference.families.registry import open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402
from vesal.networks.biomedparse_v import BiomedParseV, pad_tokens  # noqa: E402
from vesal.weights.convert.biomedparse_graphs import biomedparse_graphs  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:.*:UserWarning"
)

Arrays = dict[str, np.ndarray]
LAYOUT = {"kind": "square-slices", "side": 512, "run": 1}
STAGES = [
    {"name": "slices", "role": "locate", "window_voxels": 512**2, "skip_empty": False, "layout": LAYOUT}
]
TOLERANCE = 1e-4
"""Of the range of a recorded array."""


@pytest.fixture(scope="module")
def network(shared: Path) -> BiomedParseV:
    """The recorded network."""
    return recorded_network(shared)


@pytest.fixture(scope="module")
def folder(network: BiomedParseV, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded network as a folder of weights."""
    folder = tmp_path_factory.mktemp("recorded")
    names = []
    for name, graph in biomedparse_graphs(network, folder / "trace.onnx").items():
        onnx.save(graph, str(folder / f"{name}.onnx"))
        names.append(f"{name}.onnx")
    write_tokenizer(folder / "tokenizer.json")
    return save_manifest(
        folder,
        [*names, "tokenizer.json"],
        name="recorded",
        family="biomedparse-v",
        graphs={name.removesuffix(".onnx"): name for name in names},
        tokenizer="tokenizer.json",
        network={"heads": 4},
        attention="full",
        stages=STAGES,
        postprocess=[{"rule": "slices"}],
        targets=[],
    )


@pytest.fixture(scope="module")
def stored(shared: Path) -> Arrays:
    """All recorded arrays."""
    with np.load(shared / FOLDER / "e2e.npz") as file:
        return dict(file)


class Recorder:
    """A runtime that keeps what the decoder gave for each slice, and shifts it as the recording was shifted
    before it was made into labels.
    """

    def __init__(self, mask_shift: np.ndarray, existence_shift: np.ndarray) -> None:
        """What is taken off the masks, (P,), and added to existence, (P, S)."""
        self._mask_shift, self._existence_shift = mask_shift, existence_shift
        self.masks: list[np.ndarray] = []
        self.existence: list[np.ndarray] = []
        self._runtime = choose_runtime("onnxruntime", 2)

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Any:
        """A graph; the decoder's answers are kept and shifted."""
        graph = self._runtime.load(path, "fp32", one_shape)
        return graph if not path.stem.startswith("decoder") else lambda inputs: self._shifted(graph(inputs))

    def _shifted(self, found: Arrays) -> Arrays:
        # A single pair is run twice.
        found = {name: values[: len(self._mask_shift)] for name, values in found.items()}
        at = slice(len(self.masks), len(self.masks) + found["mask"].shape[1])
        for column in range(at.stop - at.start):
            self.masks.append(found["mask"][:, column])
            self.existence.append(found["existence"][:, column])
        mask = found["mask"] - self._mask_shift[:, None, None, None]
        return found | {"mask": mask, "existence": found["existence"] + self._existence_shift[:, at]}


def with_ids(stored: Arrays, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences of a recorded case have the recorded token ids, which are no tokenizer's."""
    ids, mask = stored[f"{case}_input_ids"], stored[f"{case}_attention_mask"]
    rows = {text_of(id_): n for n, id_ in enumerate(stored[f"{case}_ids"])}
    monkeypatch.setattr(Sentences, "ids", lambda self, text: (ids[rows[text]], int(mask[rows[text]].sum())))


def text_of(id_: int) -> str:
    return f"target {id_} in CT"


def run(folder: Path, runtime: Recorder, image: np.ndarray, ids: Sequence[int]) -> Segmentation:
    """A case through the engine."""
    profile = read_profile(folder)
    engine = Engine(profile, FAKE_RUNTIME, open_model(profile, runtime))
    return segment(engine, image, [make_prompt(int(id_), None, text=text_of(id_)) for id_ in ids])


def test_logits_and_labels_of_whole_runs(
    folder: Path, stored: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cases that are there."""
    cases = [name.removesuffix("_imgs") for name in stored if name.endswith("_imgs")]
    assert cases
    for case in cases:
        with_ids(stored, case, monkeypatch)
        check_run(
            folder, {name[len(case) + 1 :]: a for name, a in stored.items() if name[: len(case)] == case}
        )


def check_run(folder: Path, case: Arrays) -> None:
    """One of them."""
    recorder = Recorder(case["pg_shift"], case["existence_shifted"] - case["existence"])
    result = run(folder, recorder, case["imgs"], case["ids"])
    for ours, recorded in (
        (np.stack(recorder.masks, 1), case["pred_gmasks"]),
        (np.stack(recorder.existence, 1), case["existence"]),
    ):
        assert ours.shape == recorded.shape
        assert np.abs(ours - recorded).max() <= TOLERANCE * np.ptp(recorded)
    assert case["seg"].any(), "an empty map would agree with anything"
    assert np.array_equal(result.labels, case["seg"])


class Released:
    """The steps around the network as released, in torch, for volumes that were not recorded."""

    def __init__(
        self, image: np.ndarray, axis: int, network: BiomedParseV, ids: np.ndarray, mask: np.ndarray
    ):
        """Raw masks (P, S, 128, 128) and existence (P, S) of an image (D, H, W), sliced along an axis."""
        self.axis, (h, w) = axis, np.delete(image.shape, axis)
        self.size = max(h, w)
        self.first = (self.size - h) // 2, (self.size - w) // 2
        self.plane = int(h), int(w)
        slices = np.moveaxis(image, axis, 0)
        square = np.zeros((len(slices), self.size, self.size), np.uint8)
        self._own(square)[...] = slices
        resized = torch.nn.functional.interpolate(torch.from_numpy(square)[None], (512, 512), mode="bicubic")[
            0
        ]
        at = np.pad(np.arange(len(slices)), 1, mode="reflect") if len(slices) > 1 else np.zeros(3, int)
        packed = torch.stack([resized, resized[at[:-2]], resized[at[2:]]], 1).float()
        tokens = pad_tokens(network.encode_text(torch.from_numpy(ids)), torch.from_numpy(mask.sum(1)))
        with torch.no_grad():
            found = [network(slice_[None], tokens) for slice_ in packed]
        self.masks = torch.cat([one.masks for one in found]).transpose(0, 1)
        self.existence = torch.cat([one.existence for one in found]).T

    def _own(self, square: np.ndarray) -> np.ndarray:
        (top, left), (h, w) = self.first, self.plane
        return square[..., top : top + h, left : left + w]

    def labels(self, mask_shift: np.ndarray, existence_shift: np.ndarray, ids: Sequence[int]) -> np.ndarray:
        """Overlap and existence, merging, and the way back to the volume."""
        masks = self.masks - torch.from_numpy(mask_shift)[:, None, None, None]
        large = torch.nn.functional.interpolate(masks, (512, 512), mode="bicubic", antialias=True).sigmoid()
        present = (self.existence + torch.from_numpy(existence_shift)).sigmoid()
        for s in range(large.shape[1]):
            kept: list[int] = []
            for p in torch.argsort(-present[:, s], stable=True).tolist():
                mine = large[p, s] > 0.5
                others = [large[q, s] > 0.5 for q in kept]
                enough = present[p, s] > 0.5 if len(large) == 1 else present[p, s] >= 0.5 and bool(mine.any())
                if enough and all((mine & o).sum() <= 0.5 * (mine | o).sum() for o in others):
                    kept.append(p)
            large[[p for p in range(len(large)) if p not in kept], s] = 0
        best = torch.cat([torch.full_like(large[:1], 0.5), large]).argmax(0)
        labels = torch.tensor([0, *ids])[best]
        back = torch.nn.functional.interpolate(labels[None].float(), (self.size, self.size))[0].numpy()
        return np.moveaxis(self._own(back), 0, self.axis).astype(int)


@pytest.mark.parametrize(
    ("shape", "axis", "rows"), [((20, 3, 17), 1, [0]), ((9, 31, 2), 2, [0, 1, 2]), ((1, 600, 520), 0, [1, 2])]
)
def test_other_volumes_give_what_the_released_steps_give(
    shape: tuple[int, int, int],
    axis: int,
    rows: list[int],
    folder: Path,
    network: BiomedParseV,
    stored: Arrays,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slices along each axis, one and several prompts, planes smaller and larger than the network's."""
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 1, 4, 4, 4), shape, mode="trilinear")[0, 0]
    image = (smooth * 255).byte().numpy()
    ids, mask, numbers = stored["a_input_ids"][rows], stored["a_attention_mask"][rows], [5, 2, 9][: len(rows)]
    places = {text_of(number): n for n, number in enumerate(numbers)}
    monkeypatch.setattr(
        Sentences, "ids", lambda self, text: (ids[places[text]], int(mask[places[text]].sum()))
    )
    released = Released(image, axis, network, ids, mask)
    shifts = np.quantile(released.masks.numpy(), 0.7, (1, 2, 3)).astype(np.float32)
    wanted_existence = np.where(np.arange(shape[axis]) % 3 == 1, -9, 2) + np.arange(len(rows))[:, None]
    more = wanted_existence.astype(np.float32) - released.existence.numpy()
    recorder = Recorder(shifts, more)
    found = run(folder, recorder, image, numbers).labels
    theirs = released.masks.numpy()
    assert np.abs(np.stack(recorder.masks, 1) - theirs).max() <= TOLERANCE * np.ptp(theirs)
    wanted = released.labels(shifts, more, numbers)
    assert set(np.unique(wanted)) > {0}
    assert (found != wanted).mean() < 1e-4, "but for logits of 0 to the last bit"
