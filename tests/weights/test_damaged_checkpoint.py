"""Whatever became of a checkpoint, its values are the saved ones or a named error says what is wrong."""

import io
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")

from vesal.weights.convert.checkpoint import Checkpoint  # noqa: E402
from vesal.weights.convert.errors import (  # noqa: E402
    CheckpointError,
    MissingTensorsError,
    UnsafeCheckpointError,
)

Entries = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    """A network's tensors under ``module.``, with the optimizer's state and numpy scalars in its settings."""
    g = torch.Generator().manual_seed(0)
    state = {f"module.{i}.weight": torch.randn(5, 7 + i, generator=g) for i in range(4)}
    state["module.bias"] = torch.randn(3, generator=g).bfloat16()
    moments = {i: {"step": torch.tensor(3.0), "exp_avg": torch.randn(40, generator=g)} for i in range(4)}
    group = {"lr": np.float64(1e-3), "betas": (0.9, 0.999), "params": list(range(4))}
    optimizer = {"state": moments, "param_groups": [group, {**group, "params": []}]}
    return {"step": 3, "model_state_dict": state, "optimizer_state_dict": optimizer}


@pytest.fixture(scope="module")
def file(saved: dict[str, Any]) -> bytes:
    """What torch.save makes of it."""
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return buffer.getvalue()


def rewritten(
    file: bytes, change: Callable[[Entries], Entries], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The archive with other entries, and right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name, data in change([(entry.filename, old.read(entry)) for entry in old.infolist()]):
            new.writestr(name, data)
    return out.getvalue()


def with_pickle(file: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with another list of tensors."""
    return rewritten(
        file, lambda entries: [(n, change(d) if n.endswith("/data.pkl") else d) for n, d in entries]
    )


def flipped(data: bytes, rng: random.Random) -> bytes:
    """``data`` with one to three bits that are not as they were."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 3])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def moved(data: bytes, rng: random.Random) -> bytes:
    """``data`` with two pieces exchanged."""
    a, b, c, d = sorted(rng.randrange(len(data)) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def noisy(data: bytes, rng: random.Random) -> bytes:
    """``data`` with some bytes replaced by random ones."""
    first = rng.randrange(len(data))
    length = rng.randrange(1, 100)
    return data[:first] + rng.randbytes(length) + data[first + length :]


def without_one(entries: Entries, rng: random.Random) -> Entries:
    """All entries but one."""
    gone = rng.randrange(len(entries))
    return entries[:gone] + entries[gone + 1 :]


def with_one_cut(entries: Entries, rng: random.Random) -> Entries:
    """All entries, one of them shorter."""
    hit = rng.randrange(len(entries))
    name, data = entries[hit]
    return [*entries[:hit], (name, data[: rng.randrange(len(data))]), *entries[hit + 1 :]]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda file, rng: file[: rng.randrange(len(file))],
    "bits": flipped,
    "pieces exchanged": moved,
    "noise": noisy,
    "bytes lost": lambda file, rng: (
        file[: (at := rng.randrange(len(file)))] + file[at + rng.randrange(1, 99) :]
    ),
    "compressed": lambda file, rng: flipped(rewritten(file, list, zipfile.ZIP_DEFLATED), rng),
    "entry lost": lambda file, rng: rewritten(file, lambda entries: without_one(entries, rng)),
    "entry cut": lambda file, rng: rewritten(file, lambda entries: with_one_cut(entries, rng)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_values_are_right_or_an_error_names_the_file(
    saved: dict[str, Any], file: bytes, tmp_path: Path, damage: str
) -> None:
    rng = random.Random(damage)
    path, refused = tmp_path / "damaged.pth", 0
    for _ in range(60):
        path.write_bytes(DAMAGES[damage](file, rng))
        try:
            checkpoint = Checkpoint(path)
            values = {name: checkpoint.read(name) for name in checkpoint.tensors}
        except CheckpointError as error:
            assert str(path) in str(error)
            refused += 1
            continue
        assert set(values) == set(saved["model_state_dict"])
        for name, value in saved["model_state_dict"].items():
            np.testing.assert_array_equal(values[name], value.float().numpy())
    assert refused > 5, "else nothing was damaged"


@pytest.mark.parametrize("damage", [flipped, moved, noisy])
def test_a_damaged_list_with_a_right_checksum_raises_nothing_else(
    file: bytes, tmp_path: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    rng, path, refused = random.Random(0), tmp_path / "damaged.pth", 0
    for _ in range(120):
        path.write_bytes(with_pickle(file, lambda pickled: damage(pickled, rng)))
        try:
            checkpoint = Checkpoint(path)
            for name in checkpoint.tensors:
                checkpoint.read(name)
        except CheckpointError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 60


def test_a_cut_file_of_torch_names_the_tensors_behind_the_cut(
    saved: dict[str, Any], file: bytes, tmp_path: Path
) -> None:
    """torch writes sizes behind the values, so headers in front of them say nothing."""
    names = list(saved["model_state_dict"])
    (tmp_path / "cut.pth").write_bytes(file[: file.index(b"/data/3") + 20])
    checkpoint = Checkpoint(tmp_path / "cut.pth")
    assert checkpoint.absent == set(names[3:]) and not checkpoint.complete
    assert checkpoint.shapes == {n: tuple(t.shape) for n, t in saved["model_state_dict"].items()}
    with pytest.raises(MissingTensorsError):
        checkpoint.read(names[0])


def test_neither_optimizer_nor_copies_are_read(saved: dict[str, Any], file: bytes, tmp_path: Path) -> None:
    """The optimizer's values are damaged, and nobody sees it; those of the network are the mapped file's."""
    values = saved["optimizer_state_dict"]["state"][2]["exp_avg"].numpy().tobytes()
    (tmp_path / "good.pth").write_bytes(file.replace(values, bytes(len(values))))
    checkpoint = Checkpoint(tmp_path / "good.pth")
    for name, tensor in saved["model_state_dict"].items():
        np.testing.assert_array_equal(checkpoint.read(name), tensor.float().numpy())
    name = "module.0.weight"
    assert np.shares_memory(checkpoint.read(name), checkpoint.tensors[name].numpy())
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "good.pth" in line]
    first, last = (int(part, 16) for part in mapped[0].split()[0].split("-"))
    assert first < checkpoint.tensors[name].data_ptr() < last


def test_exchanged_entries_of_the_directory_are_seen(file: bytes, tmp_path: Path) -> None:
    """torch goes by the directory alone, and would give each of two moments the other's values."""
    directory = file.index(b"PK\x01\x02")
    first, second = (file.index(name, directory) for name in (b"/data/6", b"/data/8"))
    changed = bytearray(file)
    changed[first + 6], changed[second + 6] = changed[second + 6], changed[first + 6]
    (tmp_path / "exchanged.pth").write_bytes(changed)
    with pytest.raises(CheckpointError, match="data/8 is damaged"):
        Checkpoint(tmp_path / "exchanged.pth")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, dtype=torch.complex64),
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(1).expand(10**6),
    ],
    ids=["complex", "sparse", "without values", "larger than its storage"],
)
def test_tensors_that_are_no_plain_arrays_are_refused(tmp_path: Path, tensor: Any) -> None:
    torch.save({"model_state_dict": {"good": torch.ones(3), "odd": tensor}}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd \(1\) of its tensors"):
        Checkpoint(tmp_path / "odd.pth")


class Call:
    """Its pickle asks for a call of ``os.system``."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch ran",)


@pytest.mark.parametrize("protocol", range(6))
def test_the_call_that_a_pickle_asks_for_is_named(
    file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps({"model_state_dict": {"a": Call()}}, protocol=protocol)
    Path("evil.pth").write_bytes(with_pickle(file, lambda _: pickled))
    with pytest.raises(UnsafeCheckpointError, match=r"asks for '\w+.system'.*nothing of it was run"):
        Checkpoint(Path("evil.pth"))
    assert not Path("ran").exists()
