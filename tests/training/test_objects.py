"""Training of the head for objects from exported weights, its export, and the family that runs it."""

import itertools
import json
from pathlib import Path

import cc3d
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="export writes with onnx")

from tests.training.made import THIN, made_bank  # noqa: E402
from vesal.inference.api import load  # noqa: E402
from vesal.inference.data.prompt import Query  # noqa: E402
from vesal.inference.families.contract import Window  # noqa: E402
from vesal.inference.families.nano import NanoModel  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.planning.weights_folder import WEIGHTS as SHIPPED  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.networks.nano import Nano  # noqa: E402
from vesal.networks.nano_objects import HEAD  # noqa: E402
from vesal.postprocess.seeded_watershed import SeededWatershed  # noqa: E402
from vesal.training.cells import draw_cells  # noqa: E402
from vesal.training.export import WEIGHTS, write_graphs  # noqa: E402
from vesal.training.export_objects import export_objects  # noqa: E402
from vesal.training.object_feeder import fed_views  # noqa: E402
from vesal.training.object_manifest import with_objects, without_objects  # noqa: E402
from vesal.training.object_views import CELL, NUCLEUS, ObjectVolume, object_views, read_object_volumes  # noqa: E402
from vesal.training.objects import HeadPlan, HeadTrainer, train_head  # noqa: E402
from vesal.weights.digest import sha256  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)  # of the exporter that is chosen on purpose

NAMES = [f"degree{d}.onnx" for d in range(3)]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported thin weights without a head, with the manifest of the default ones."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("start")
    network = Nano(THIN).eval()
    with torch.no_grad():  # the exporter stores equal tensors once, under the name of the first
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    write_graphs(network, folder, 2)
    bank = made_bank(NUCLEUS, CELL, "liver")
    np.savez(
        folder / "bank.npz", names=np.array(list(bank)), vectors=np.stack([*bank.values()]).astype(np.float16)
    )
    content = json.loads((SHIPPED / "nano" / "manifest.json").read_text())
    content["files"] = {n: {"sha256": sha256(folder / n)} for n in [*NAMES, WEIGHTS, "bank.npz"]}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def trained(start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[HeadTrainer, Path]:
    """A trainer after three steps, and its working folder."""
    work = tmp_path_factory.mktemp("work")
    trainer = HeadTrainer(HeadPlan(minutes=60, batch=1), start, work)
    views = object_views([], seed=0)
    for _ in range(3):
        trainer.one_step(views)
    trainer.save()
    return trainer, work


@pytest.fixture(scope="module")
def exported(
    start: Path, trained: tuple[HeadTrainer, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder with the head."""
    out = tmp_path_factory.mktemp("out")
    head = {f"{HEAD}{k}": v for k, v in trained[0].model.objects.state_dict().items()}
    export_objects(start, head, out)
    return out


def test_only_the_head_changes(start: Path, trained: tuple[HeadTrainer, Path]) -> None:
    """To the bit, as every other target hangs on the rest."""
    fresh = HeadTrainer(HeadPlan(minutes=60), start, start).model.state_dict()
    for name, value in trained[0].model.state_dict().items():
        if not name.startswith(HEAD):
            assert torch.equal(value, fresh[name])
    assert not torch.equal(trained[0].model.objects.rows.weight, fresh[f"{HEAD}rows.weight"])


def test_a_run_goes_on_from_its_checkpoint(start: Path, trained: tuple[HeadTrainer, Path]) -> None:
    trainer, work = trained
    again = HeadTrainer(HeadPlan(minutes=60, batch=1), start, work)
    assert again.step == 3
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)
    later, whole = object_views([], seed=0, first=2), itertools.islice(object_views([], seed=0), 2, None)
    assert torch.equal(next(later).image, next(whole).image)


def test_processes_draw_the_views_that_one_draws() -> None:
    """In its order, as each draws every second one."""
    pairs = zip(fed_views([], 0, 1, 2), object_views([], seed=0, first=1), strict=False)
    for mine, theirs in itertools.islice(pairs, 3):
        assert torch.equal(mine.image, theirs.image) and mine.concept == theirs.concept


def test_by_steps_the_clock_decides_nothing(start: Path, tmp_path: Path) -> None:
    trainer = HeadTrainer(HeadPlan(steps=2, batch=1), start, tmp_path)
    train_head(trainer, object_views([], seed=0))
    assert trainer.step == 2 and trainer.plan.share(1, 1e9) == 0.5
    for lengths in ({}, {"minutes": 1.0, "steps": 1}):
        with pytest.raises(ValueError, match="minutes or steps"):
            HeadPlan(**lengths)


def test_a_run_ends_by_the_clock_with_a_checkpoint(start: Path, tmp_path: Path) -> None:
    trainer = HeadTrainer(HeadPlan(minutes=1e-6, batch=1), start, tmp_path)
    train_head(trainer, object_views([], seed=0))
    assert trainer.step == 1
    assert HeadTrainer(HeadPlan(minutes=1e-6), start, tmp_path).step == 1
    assert (tmp_path / "log.csv").exists()


def test_graphs_of_all_other_targets_stay_as_they_are(start: Path, exported: Path) -> None:
    for name in NAMES:
        assert (exported / name).read_bytes() == (start / name).read_bytes()
    before = (start / WEIGHTS).read_bytes()
    assert (exported / WEIGHTS).read_bytes()[: len(before)] == before


def test_a_head_is_kept_when_it_is_exported_again(exported: Path, tmp_path: Path) -> None:
    export_objects(exported, {}, tmp_path)
    for name in [*NAMES, WEIGHTS, "objects1.onnx", "manifest.json"]:
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()


def test_weights_that_are_trained_anew_have_no_head_of_old_ones(exported: Path, tmp_path: Path) -> None:
    content = json.loads((exported / "manifest.json").read_text())
    (tmp_path / "objects1.onnx").write_bytes(b"old")
    left = without_objects(content, tmp_path)
    assert not list(tmp_path.iterdir())
    assert left.keys() == content.keys() - {"objects"}
    assert sorted(left["files"]) == sorted([*NAMES, WEIGHTS, "bank.npz"])
    assert not [rule for rule in left["postprocess"] if rule["rule"] == "seeded_watershed"]
    assert with_objects(left)["postprocess"] == content["postprocess"]


def test_the_family_tells_edges_of_the_heads_modality_alone(
    start: Path, exported: Path, trained: tuple[HeadTrainer, Path]
) -> None:
    profile = read_profile(exported)
    rules = [rule for rule in profile.postprocess if isinstance(rule, SeededWatershed)]
    assert len(rules) == 1 and NUCLEUS in rules[0].concepts
    runtime = choose_runtime("auto", threads=1)
    model, before = NanoModel.open(profile, runtime), NanoModel.open(read_profile(start), runtime)
    assert model.capabilities.edges and NanoModel.describe(profile).edges
    assert not before.capabilities.edges and not NanoModel.describe(read_profile(start)).edges
    image = np.random.default_rng(0).normal(size=(2, 16, 32, 16)).astype(np.float32)
    cells, liver = (
        model.encode_prompts([Query(1, c, c, None, m, "cell")])
        for c, m in ((NUCLEUS, "Microscopy"), ("liver", "CT"))
    )
    window = Window(image, 0)
    told = model.decode(window, cells, None, None)
    assert told.edges is not None and told.edges.shape == told.probability.shape
    np.testing.assert_allclose(told.edges, 1 - inner_of(trained[0], window), atol=0.05)
    other, same = (m.decode(window, liver, None, None) for m in (model, before))
    assert other.edges is None
    np.testing.assert_array_equal(other.probability, same.probability)
    unused = model.decode(Window(image, 0, edges=False), cells, None, None)
    assert unused.edges is None
    np.testing.assert_array_equal(unused.probability, told.probability)


def test_objects_of_a_volume_are_told_by_the_head(exported: Path) -> None:
    """Through the engine: edges reach rule and caller, and every object is in one piece."""
    image = draw_cells(np.random.default_rng(0)).image
    result = load(exported, threads=1).segment(
        image, (1.0, 1.0, 1.0), ["Cell nuclei in light microscopy"], instances=True
    )
    assert result.edges(0).shape == image.shape and 0 < result.edges(0).max() <= 1
    assert result.labels.shape == image.shape
    assert cc3d.connected_components(result.labels, connectivity=6, return_N=True)[1] == result.labels.max()


def inner_of(trainer: HeadTrainer, window: Window) -> np.ndarray:
    """(1, d, h, w) of the network itself, for a nucleus."""
    text = torch.from_numpy(trainer.bank[NUCLEUS])[None, None]
    zero, four = torch.zeros(1, 1, dtype=torch.long), torch.full((1, 1), 4)
    image = torch.from_numpy(window.image)[None]
    with torch.no_grad():
        told = trainer.model.eval().forward_objects(
            image, torch.zeros(1, 1, *image.shape[2:]), text, zero, four, 0
        )[2]
    trainer.model.train()
    return told.sigmoid()[0].numpy()


def test_labelled_volumes_are_split_and_asked_for_by_what_they_show(tmp_path: Path) -> None:
    labels = np.zeros((16, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8], labels[9:14, 12:18, 2:8], labels[0, 0, 0] = 1, 1, 1
    full = np.ones(labels.shape, np.uint8)
    full[8:] = 2
    for name, truth, instance in (("a", labels, 1), ("b", full, 1), ("c", labels, 0)):
        prompts = np.array({"1": "Cell nuclei in light microscopy", "instance_label": instance})
        image = np.where(truth == 1, 200, 40).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", imgs=image, gts=truth, spacing=np.ones(3), text_prompts=prompts)
    found = read_object_volumes(tmp_path)
    assert [(v.concept, int(v.labels.max())) for v in found] == [(NUCLEUS, 2), (CELL, 2)]
    assert_views_are_whole(found)


def assert_views_are_whole(volumes: list[ObjectVolume]) -> None:
    """Shapes agree, the distance is in objects alone, and a seed gives the same views."""
    views = list(itertools.islice(object_views(volumes, seed=2), 4))
    for view, again in zip(views, object_views(volumes, seed=2), strict=False):
        assert view.image.shape[2:] == view.objects.shape[2:] == view.inner.shape[2:] == view.faces.shape[2:]
        assert torch.equal(view.objects > 0, view.inner > 0)
        assert torch.equal(view.image, again.image)
