"""A store is carried elsewhere in parts, and trained on there with little installed and without its data."""

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import SAFETY_S, THIN, made_bank, write_volume  # noqa: E402
from vesal.training import pack  # noqa: E402
from vesal.training.bank import BANK  # noqa: E402
from vesal.training.pack import members_of_folder, run, unpack, write_parts  # noqa: E402
from vesal.training.parts import LIST, PartsError  # noqa: E402
from vesal.training.shelf import INDEX, Source, files, fill, read  # noqa: E402
from vesal.training.shelves import shelves_of  # noqa: E402
from vesal.training.store import read_rules  # noqa: E402

HEART = {"1": "Left ventricle in cardiac MR", "3": "Right ventricle in cardiac MR", "instance_label": 0}
MISSING = (
    "blosc2", "cc3d", "matplotlib", "msgspec", "nibabel", "onnxruntime", "openvino", "pandas", "scipy",
    "skimage", "tokenizers", "tqdm",
)  # fmt: skip
"""Everything that a training here uses and that another machine need not have. It does not do without numpy,
torch and onnx."""
WITHOUT = """
import sys
import runpy
for name in sys.argv[1].split(","):
    sys.modules[name] = None
if "AS_GPU" in sys.argv:
    sys.argv.remove("AS_GPU")
    from vesal.training import device
    device.is_processor = lambda device: False
for line in "\\n".join(sys.argv[2:]).split("\\nTHEN\\n"):
    sys.argv = line.split("\\n")
    runpy.run_module(sys.argv[0], run_name="__main__")
"""


def made_store(folder: Path) -> Path:
    """A store of two sets that are trained on, one that is not, and one held-out volume."""
    kinds = {"CT_HeadNeck": {}, "MR_Heart_ACDC": {"prompts": HEART, "spacing_xyz": (1.0, 1.0, 9.0)}}
    paths = [write_volume(folder / f"data/{s}/{s}_1.npz", **given) for s, given in kinds.items()]
    paths.append(write_volume(folder / "data/CT_IRCAD/CT_IRCAD_1.npz"))
    fill(folder / "store/train", files(paths))
    fill(folder / "store/smoothed", Source("made", []))
    fill(folder / "store/val3", files([write_volume(folder / "data/CT_HeadNeck/CT_HeadNeck_2.npz")]))
    return folder / "store"


def packing(store: Path, out: Path) -> Namespace:
    """The command line that packs ``store`` in parts of 10 kB."""
    rest = {"unpack": None, "folder": None, "start": None}
    return Namespace(store=store, out=out, parts=0.01, most_voxels=10**6, **rest)


@pytest.fixture(scope="module", autouse=True)
def quick_bank() -> Iterator[None]:
    """A text vector for all that the made volumes hold, without the encoder."""

    def build(folder: Path, start: Path | None) -> None:
        names = ["liver", "spleen", "left ventricle", "right ventricle"]
        vectors = np.stack(list(made_bank(*names).values()))
        np.savez(folder / BANK, names=np.array(names), vectors=vectors.astype(np.float16))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "build_bank", build)
        yield


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and its parts of 10 kB, which lie in two folders, with the list in one."""
    folder = tmp_path_factory.mktemp("packed")
    store, parts = made_store(folder), folder / "parts"
    run(packing(store, parts))
    (folder / "more").mkdir()
    for path in sorted(parts.glob("part.*"))[1::2]:
        path.rename(folder / "more" / path.name)
    return folder


def test_parts_are_small_and_the_same_store_gives_the_same(packed: Path) -> None:
    parts = sorted([*(packed / "parts").glob("part.*"), *(packed / "more").glob("part.*")])
    assert len(parts) > 3 and all(path.stat().st_size <= 10_000 for path in parts)
    listed = json.loads((packed / "parts" / LIST).read_text())["parts"]
    assert [part["name"] for part in listed] == sorted(path.name for path in parts)
    run(packing(packed / "store", packed / "again"))
    assert (packed / "again" / LIST).read_text() == (packed / "parts" / LIST).read_text()


def test_what_is_put_together_holds_the_volumes_that_are_trained_on(packed: Path, tmp_path: Path) -> None:
    assert unpack([packed / "parts", packed / "more"], tmp_path / "store") == 7
    rules = read_rules()
    for shelf in ("train", "val3"):
        found = {v.name: v for v in read(tmp_path / "store" / shelf, rules)}
        given = {v.name: v for v in read(packed / "store" / shelf, rules) if v.dataset != "CT_IRCAD"}
        assert found.keys() == given.keys() and found
        for name, volume in found.items():
            assert isinstance(volume.image, np.ndarray)
            assert np.array_equal(volume.image, given[name].image[:])
            assert np.array_equal(volume.labels, given[name].labels[:])
            assert (volume.targets, volume.statistics) == (given[name].targets, given[name].statistics)
    args = {"data": None, "store": tmp_path / "store", "work": tmp_path, "looks": 3}
    shelves = shelves_of(Namespace(**args, without=[]))
    assert [s.name for s in shelves["train"]] == ["smoothed", "train"]
    assert [s.name for s in shelves["val"]] == ["val3"]
    assert [s.name for s in shelves_of(Namespace(**args, without=["synthetic"]))["train"]] == ["train"]
    with pytest.raises(FileNotFoundError, match="holds no unpacked volumes; give --data, or put together"):
        shelves_of(Namespace(**args | {"store": tmp_path / "none"}, without=[]))


def carried(command: list[object], root: Path) -> subprocess.CompletedProcess[str]:
    """Modules of training, run where the libraries of ``MISSING`` are not installed."""
    line = [sys.executable, "-c", WITHOUT, ",".join(MISSING), *command]
    return subprocess.run(
        list(map(str, line)), cwd=root, capture_output=True, text=True, timeout=SAFETY_S, check=False
    )


def test_a_training_runs_from_it_alone_with_numpy_torch_and_onnx(
    packed: Path, tmp_path: Path, root: Path
) -> None:
    """Ends before its time, goes on with the same command, a processor now taken for a GPU, and exports."""
    store, out, work = tmp_path / "store", tmp_path / "weights", tmp_path / "work"
    together = ["vesal.training.pack", "--unpack", packed / "parts", packed / "more", "--out", store]
    command = ["vesal.training", "--store", store, "--work", work, "--out", out, "--widths", *THIN]
    command += ["--steps", 2, "--processes", 1, "--pairs", 1, "--looks", 1]
    first = carried([*together, "THEN", *command, "--minutes", 1e-3], root)
    assert first.returncode == 75, first.stderr
    assert "0 of 2 step are behind; the same command goes on" in first.stderr and not out.exists()
    second = carried(["AS_GPU", *command], root)
    assert second.returncode == 0, second.stderr
    assert {path.name for path in out.iterdir()} >= {"manifest.json", "weights.bin", "degree2.onnx", BANK}
    assert "no curves are drawn" in second.stderr
    assert ",val CT_HeadNeck fine," in (work / "log.csv").read_text()


def test_a_folder_is_packed_as_it_is_and_damage_is_named(tmp_path: Path) -> None:
    given, rng = tmp_path / "run", np.random.default_rng(0)
    (given / "below").mkdir(parents=True)
    for name in ("checkpoint.pt", "below/log.csv"):
        (given / name).write_bytes(rng.bytes(3000))
    parts = write_parts(members_of_folder(given), tmp_path / "parts", 2000)
    assert [part.bytes for part in parts[:-1]] == [2000] * (len(parts) - 1)
    assert unpack([tmp_path / "parts"], tmp_path / "again") == 2
    for name in ("checkpoint.pt", "below/log.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (given / name).read_bytes()
    second = tmp_path / "parts" / "part.002"
    whole = second.read_bytes()
    second.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(PartsError, match=r"part\.002 is not the part that parts\.json tells of"):
        unpack([tmp_path / "parts"], tmp_path / "more")
    second.unlink()
    with pytest.raises(PartsError, match=r"part\.002 is in none of .*; carry it there too"):
        unpack([tmp_path / "parts"], tmp_path / "more")
    assert not (tmp_path / "more").exists()
    with pytest.raises(PartsError, match=r"hold no parts\.json; give the folders of one packing"):
        unpack([given], tmp_path / "more")


def test_a_packing_that_breaks_leaves_no_list(tmp_path: Path) -> None:
    def breaks():
        yield "one", b"1" * 3000
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        write_parts(breaks(), tmp_path, 1000)
    assert not (tmp_path / LIST).exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"store": "none"}, "none is no folder"),
        ({"store": "."}, "holds no unpacked volumes; give the --store"),
        ({"unpack": ["."]}, "--unpack needs --out"),
    ],
)
def test_what_cannot_be_packed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rest = {"unpack": None, "store": None, "folder": None, "out": None, "parts": 1.0, "start": None}
    paths = {k: [Path(p) for p in v] if isinstance(v, list) else Path(v) for k, v in given.items()}
    with pytest.raises(PartsError, match=message):
        run(Namespace(**rest | {"most_voxels": 10} | paths))
    assert INDEX == "index.json"
