"""Published files are read without running them, and a wrong or cut file is named for what it lacks."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")

from vesal.networks.medal_s import MEDAL_S, MedalS  # noqa: E402
from vesal.networks.mpnet_text import BIOLORD  # noqa: E402
from vesal.weights.convert.checkpoint import Checkpoint  # noqa: E402
from vesal.weights.convert.errors import (  # noqa: E402
    CheckpointError,
    MissingTensorsError,
    UnsafeCheckpointError,
)
from vesal.weights.convert.keymap import Part, load, our_names  # noqa: E402
from vesal.weights.convert.parts import BIOLORD_TEXT  # noqa: E402
from vesal.weights.convert.systems.medal_s import MEDAL_S as SYSTEM  # noqa: E402
from vesal.weights.convert.systems.sat import SAT  # noqa: E402


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    """A tiny network in the container of the published files."""
    (path,) = (shared / "fixtures/medals/checkpoints").glob("*.pth")
    return path


@pytest.fixture(scope="module")
def text_file(shared: Path) -> Path:
    """A tiny text encoder in the same container."""
    return shared / "fixtures/medals/text_tiny/text_encoder.pth"


@torch.no_grad()
def test_the_published_container_gives_the_recorded_logits(published: Path) -> None:
    checkpoint = Checkpoint(published)
    network = load(checkpoint, SYSTEM.network)
    assert checkpoint.step == 358600 and isinstance(network, MedalS)
    stored = np.load(published.parent / "expected_forward.npz")
    image = torch.from_numpy(stored["image"].astype(np.float32))[None, None]
    queries = torch.from_numpy(stored["queries"])[None]
    logits = network(image, queries, torch.zeros(1, queries.shape[1], *image.shape[2:]))
    assert np.abs(logits[0].numpy() - stored["logits"]).max() < 1e-4


def test_of_doubled_tensors_one_is_taken() -> None:
    names = our_names(
        [
            "module.fusion_conv.convs.0.all_modules.0.weight",
            "module.fusion_conv.convs.0.conv.weight",
            "module.fusion_conv.convs.0.all_modules.1.bias",
            "module.mid_mask_embed_proj.0.0.weight",
            "module.transformer_decoder.layers.0.norm1.bias",
            "projection_layer.0.bias",
        ]
    )
    assert names == {
        "fusion_conv.convs.0.conv.weight": "module.fusion_conv.convs.0.conv.weight",
        "fusion_conv.convs.0.norm.bias": "module.fusion_conv.convs.0.all_modules.1.bias",
        "projection_layer.0.bias": "projection_layer.0.bias",
    }


@pytest.mark.parametrize("bytes_left", [60_000, 200_000, 300_000])
def test_a_cut_file_names_what_is_missing(published: Path, tmp_path: Path, bytes_left: int) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(published.read_bytes()[:bytes_left])
    with pytest.raises(MissingTensorsError, match="was cut short") as caught:
        load(Checkpoint(cut), SYSTEM.network)
    early, late = "backbone.encoder.stages.0.0.convs.0.conv.weight", "fusion_conv.convs.0.norm.bias"
    assert late in caught.value.missing and early not in caught.value.missing
    assert caught.value.missing[0] in str(caught.value)


def test_a_file_cut_before_its_list_ends_lacks_all(published: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(published.read_bytes()[:20_000])
    with pytest.raises(MissingTensorsError, match="all of its tensors are missing"):
        Checkpoint(cut)


def test_a_file_without_its_end_is_refused_though_no_tensor_is_missing(
    published: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(published.read_bytes()[:-50])
    with pytest.raises(MissingTensorsError, match="only the end of the archive"):
        load(Checkpoint(cut), SYSTEM.network)


def test_a_damaged_tensor_is_named(published: Path, tmp_path: Path) -> None:
    data = bytearray(published.read_bytes())
    with zipfile.ZipFile(published) as archive:
        (entry,) = (i for i in archive.infolist() if i.filename.endswith("/data/8"))
    data[entry.header_offset + 300] ^= 0xFF
    (tmp_path / "damaged.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"data/8, module\.\S+, is damaged"):
        load(Checkpoint(tmp_path / "damaged.pth"), SYSTEM.network)


def test_a_compressed_tensor_that_is_damaged_is_named(published: Path, tmp_path: Path) -> None:
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(published) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        (hit,) = (i for i in new.infolist() if i.filename.endswith("/data/8"))
    load(Checkpoint(path), SYSTEM.network)
    data = bytearray(path.read_bytes())
    first = hit.header_offset + 30 + len(hit.filename)
    data[first : first + 8] = bytes(8 * [0xFF])
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"data/8, module\.\S+, is damaged"):
        load(Checkpoint(path), SYSTEM.network)


def test_an_archive_with_its_end_that_lacks_a_tensor_names_it(published: Path, tmp_path: Path) -> None:
    path = tmp_path / "less.pth"
    with zipfile.ZipFile(published) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith("/data/8"):
                new.writestr(entry, old.read(entry))
    with pytest.raises(MissingTensorsError, match="was cut short") as caught:
        load(Checkpoint(path), SYSTEM.network)
    assert len(caught.value.missing) == 1 and caught.value.missing[0] in str(caught.value)


def test_another_networks_file_is_told_apart(published: Path, text_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fusion_conv.*that SAT has not"):
        load(Checkpoint(published), SAT.network)
    with pytest.raises(MissingTensorsError, match="word_embeddings"):
        load(Checkpoint(published), BIOLORD_TEXT)
    with pytest.raises(MissingTensorsError, match="backbone.encoder.stages.0.0.convs.0.conv.weight"):
        load(Checkpoint(text_file), SYSTEM.network)


@pytest.mark.parametrize(
    "lost", ["backbone.encoder.stages.3.0.convs.0.conv.weight", "transformer_decoder.layers.2.linear1.bias"]
)
def test_single_tensors_that_are_missing_are_named(published: Path, tmp_path: Path, lost: str) -> None:
    checkpoint = Checkpoint(published)
    state = {
        theirs: torch.from_numpy(checkpoint.read(theirs).copy())
        for ours, theirs in our_names(checkpoint.tensors).items()
        if ours != lost
    }
    torch.save({"step": 1, "model_state_dict": state}, tmp_path / "less.pth")
    with pytest.raises(MissingTensorsError, match=rf"lacks {lost} \(1\)"):
        load(Checkpoint(tmp_path / "less.pth"), SYSTEM.network)


@pytest.mark.parametrize(
    ("lost", "first"),
    [
        ("backbone.encoder.stages.5.", "backbone.encoder.stages.5.0.convs.0.conv.weight"),
        (".convs.1.", "backbone.encoder.stages.0.0.convs.1.conv.weight"),
    ],
)
def test_a_whole_part_that_is_missing_is_named(
    published: Path, tmp_path: Path, lost: str, first: str
) -> None:
    checkpoint = Checkpoint(published)
    names = our_names(checkpoint.tensors)
    state = {o: torch.from_numpy(checkpoint.read(t).copy()) for o, t in names.items() if lost not in o}
    torch.save({"model_state_dict": state}, tmp_path / "less.pth")
    with pytest.raises(MissingTensorsError) as caught:
        load(Checkpoint(tmp_path / "less.pth"), SYSTEM.network)
    assert set(caught.value.missing) == {name for name in names if lost in name}
    assert first in caught.value.missing


@pytest.mark.parametrize(
    ("part", "pattern", "published", "told_by", "width"),
    [
        (
            SYSTEM.network,
            "transformer_decoder.layers.{}.",
            MEDAL_S.layers,
            "projection_layer.2.weight",
            (768, 1),
        ),
        (
            BIOLORD_TEXT,
            "text_tower.biolord.encoder.layer.{}.",
            BIOLORD.layers,
            "text_tower.biolord.embeddings.word_embeddings.weight",
            (1, 768),
        ),
    ],
)
def test_a_last_layer_is_missed_by_the_published_width(
    part: Part, pattern: str, published: int, told_by: str, width: tuple[int, int]
) -> None:
    """Nothing else in the file tells of it; a network of another width has as many as there are."""
    shapes = {pattern.format(i) + "linear1.weight": (1, 1) for i in range(published - 1)}
    for shape, layers in ((width, published), ((48, 48), published - 1)):
        expected = part.expected(shapes | {told_by: shape})
        assert any(pattern.format(layers - 1) in name for name in expected)
        assert not any(pattern.format(layers) in name for name in expected)


def test_numbers_that_are_none_are_refused(published: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint(published)
    names = our_names(checkpoint.tensors)
    state = {ours: torch.from_numpy(checkpoint.read(theirs).copy()) for ours, theirs in names.items()}
    state["mask_embed_proj.2.bias"][3] = torch.nan
    state[7] = torch.zeros(2)  # a key that is no name is not looked at
    torch.save({"model_state_dict": state}, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"mask_embed_proj.2.bias \(1\) hold NaN"):
        load(Checkpoint(tmp_path / "nan.pth"), SYSTEM.network)


DUPLICATED, FROM_MEMO = b")" + b"2\x86" * 200, b")q\x00" + b"h\x00h\x00\x86q\x00" * 200
"""Tuples of tuples, 2^200 of them when spelled out."""
ITEMS = b"ccollections\nOrderedDict\n(]"


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (DUPLICATED + b"\x8c\x01x\x93", "uses DUP"),  # as the name of what is asked for
        (DUPLICATED + ITEMS + b"K\x01K\x02\x86atR", "uses DUP"),
        (FROM_MEMO + b"}h\x00K\x01s", "tuple of tuples"),  # as a key
        (FROM_MEMO + ITEMS + b"h\x00K\x01\x86atR", "tuple of tuples"),
        (
            b"})" + b"\x85" * 200_000 + b"K\x01s",
            "tuple of tuples",
        ),  # so deep that hashing it ends the process
    ],
)
def test_a_few_bytes_cannot_keep_the_reader_busy(tmp_path: Path, pickled: bytes, message: str) -> None:
    path = tmp_path / "busy.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + pickled + b".")
        archive.writestr("x/version", "3")
    with pytest.raises(UnsafeCheckpointError, match=message):
        Checkpoint(path)


def test_shapes_that_contradict_each_other_are_named(published: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint(published)
    names = our_names(checkpoint.tensors)
    state = {ours: torch.from_numpy(checkpoint.read(theirs).copy()) for ours, theirs in names.items()}
    state["mask_embed_proj.2.bias"] = torch.zeros(99)
    torch.save({"model_state_dict": state}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"mask_embed_proj.2.bias \(99,\)"):
        load(Checkpoint(tmp_path / "odd.pth"), SYSTEM.network)


def test_tensors_of_every_layout_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    state = OrderedDict(
        slice=base[1:, ::2],
        turned=base.permute(2, 0, 1),
        half=base.half() / 7,
        bfloat=base.bfloat16() / 7,
        double=base.double() / 7,
        parameter=torch.nn.Parameter(base + 1),
        whole=torch.arange(5),
        empty=torch.zeros(0, 3),
        single=torch.tensor(2.5),
    )
    torch.save(state, tmp_path / "bare.pth")
    checkpoint = Checkpoint(tmp_path / "bare.pth")
    assert checkpoint.step is None and set(checkpoint.tensors) == set(state)
    for name, value in state.items():
        read = checkpoint.read(name)
        wanted = value.detach().float() if value.is_floating_point() else value
        assert read.shape == tuple(value.shape) and np.array_equal(read, wanted.numpy()), name


class Evil:
    """Its pickle asks for a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def test_a_pickle_that_calls_something_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("evil.pth", "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"model_state_dict": Evil()}, protocol=2))
    with pytest.raises(UnsafeCheckpointError, match=r"evil.pth.*nothing of it was run"):
        Checkpoint(Path("evil.pth"))
    assert not Path("ran").exists()


def test_a_tensor_outside_of_its_storage_is_refused(published: Path, tmp_path: Path) -> None:
    """The list promises more than the entry holds: numpy would read whatever lies behind it."""
    with zipfile.ZipFile(published) as archive, zipfile.ZipFile(tmp_path / "short.pth", "w") as short:
        for entry in archive.infolist():
            data = archive.read(entry)
            short.writestr(entry.filename, data[:16] if entry.filename.endswith("/data/8") else data)
    with pytest.raises(CheckpointError, match="does not lie in its storage"):
        load(Checkpoint(tmp_path / "short.pth"), SYSTEM.network)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no zip archive"),
        (b"\x80\x02}q\x00.", "no zip archive"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "file.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        Checkpoint(path)


@pytest.mark.parametrize("content", [{"step": 3}, [1, 2], {"model_state_dict": 5}, {"model_state_dict": {}}])
def test_files_without_tensors_are_named(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="model_state_dict"):
        Checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_that_torchs_wrappers_made_are_taken(wrapper: str) -> None:
    assert our_names([f"{wrapper}backbone.stages.0.weight"]) == {
        "backbone.stages.0.weight": f"{wrapper}backbone.stages.0.weight"
    }
    assert list(our_names(["backbone._orig_mod.stages.0.weight"])) == ["backbone.stages.0.weight"]
    assert list(our_names(["my_orig_mod.weight"])) == ["my_orig_mod.weight"]


def test_two_tensors_of_one_name_are_refused() -> None:
    with pytest.raises(CheckpointError, match="holds module.a.weight and _orig_mod.a.weight"):
        our_names(["module.a.weight", "_orig_mod.a.weight"])


@pytest.mark.parametrize("odd", [torch.tensor(1.0), torch.zeros(0), torch.zeros(2, 0)])
def test_sizes_that_make_no_sense_are_named(published: Path, tmp_path: Path, odd: Any) -> None:
    content = torch.load(published, weights_only=False)
    content["model_state_dict"]["module.projection_layer.2.weight"] = odd
    torch.save(content, path := tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="odd.pth"):
        load(Checkpoint(path), SYSTEM.network)
