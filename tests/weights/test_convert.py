"""Made networks in the published container, converted and run by the engine's own classes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from tests.inference.fake_models import make_prompt  # noqa: E402
from tests.weights.made import Made, make  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.data.prompt import Query  # noqa: E402
from vesal.inference.families.contract import Decoded, Window  # noqa: E402
from vesal.inference.families.query import QueryModel  # noqa: E402
from vesal.inference.geometry.views import View  # noqa: E402
from vesal.inference.io.digests import KEPT  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.weights.convert import verify  # noqa: E402
from vesal.weights.convert.__main__ import main  # noqa: E402
from vesal.weights.convert.errors import CheckpointError, ConversionError, TokenizerError  # noqa: E402
from vesal.weights.convert.systems import SYSTEMS  # noqa: E402
from vesal.weights.convert.text import encode, read_sentences, write_tokenizer  # noqa: E402

CLOSE = 1e-4
"""Largest difference in fp32, as a share of the largest logit: rounding alone makes a tenth of it."""


def query(concept: str, side: str | None = None, modality: str = "CT", sentence: str = "") -> Query:
    """What a model is asked."""
    name = f"{side} {concept}" if side else concept
    return Query(1, name, concept, side, modality, "organ", sentence)


QUERIES = [query("liver"), query("kidney", "left", "MR"), query("kidney", sentence="a left kidney, on US")]


@pytest.fixture(scope="module")
def medal_s(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A made Medal S, converted."""
    torch.set_num_threads(1)
    made = make(tmp_path_factory.mktemp("medal-s"), "medal-s")
    assert main(made.arguments) == 0
    return made


@pytest.fixture(scope="module")
def sat(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A made SAT of the branch main, which knows four modalities, converted."""
    torch.set_num_threads(1)
    made = make(tmp_path_factory.mktemp("sat"), "sat", modalities=4)
    assert main(made.arguments) == 0
    return made


def opened(made: Made) -> QueryModel:
    """What the engine opens."""
    return QueryModel.open(read_profile(made.out), OnnxRuntime(1, "a test"))


def window(shape: tuple[int, int, int], prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 image (d, h, w) and masks (N, d, h, w)."""
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, shape).astype(np.uint8), rng.random((prompts, *shape)) > 0.8


def decode(model: QueryModel, stage: str, image: np.ndarray, spatial: np.ndarray | None, queries) -> Decoded:
    """One window (d, h, w) uint8 as the engine runs it."""
    network, view = model.stage(stage), View((0.0,) * 3, (1.0,) * 3, image.shape, 0, 0)
    encoded = network.encode(Window(network.prepare(image.astype(np.float32), view, None), 0))
    return network.decode(encoded, model.encode_prompts(queries), spatial, None)


def logit(probability: np.ndarray) -> np.ndarray:
    """Back from probabilities, in double precision."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def manifest(made: Made) -> dict:
    """What was written about the weights."""
    return json.loads((made.out / "manifest.json").read_text())


@pytest.mark.parametrize("stage", ["coarse", "fine"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("prompted", [False, True])
def test_the_engine_gets_the_networks_numbers(medal_s: Made, stage: str, count: int, prompted: bool) -> None:
    """Axes (d, h, w), any number of prompts, with and without masks, each stage its own network."""
    model, queries = opened(medal_s), QUERIES[:count]
    image, masks = window((32, 96, 64), count)
    hint = masks.astype(np.float32) if prompted else None
    found = decode(model, stage, image, hint, queries)
    boxes = masks[None].astype(np.float32) if prompted else None
    wanted = SYSTEMS["medal-s"].logits(
        medal_s.networks[stage],
        image[None, None].astype(np.float32),
        model.encode_prompts(queries).text,
        boxes,
    )
    assert found.probability.shape == (count, 32, 96, 64) and found.presence is None
    # Where probabilities saturate they tell nothing of the logits.
    free = np.abs(wanted) < 8
    assert np.abs(logit(found.probability) - wanted)[free].max() < CLOSE * max(8, np.abs(wanted).max())


def test_graphs_agree_with_networks(medal_s: Made) -> None:
    """The converter's own measure, in each runtime that is here."""
    for stage, network in medal_s.networks.items():
        graphs = {role: medal_s.out / name for role, name in manifest(medal_s)["graphs"][stage].items()}
        assert set(graphs) == {"encoder", "embed", "prompted"}
        queries = opened(medal_s).encode_prompts(QUERIES).text
        found = verify.measure(SYSTEMS["medal-s"].run_of(network), graphs, queries, (32, 64, 64))
        assert found["fp32"].worst < CLOSE and found["fp32"].share > 0.9999


def test_openvino_agrees_with_networks(medal_s: Made) -> None:
    """As near as ONNX Runtime."""
    pytest.importorskip("openvino", reason="not the runtime here")
    from vesal.inference.runtime.openvino import OpenVino

    queries = opened(medal_s).encode_prompts(QUERIES).text
    image, boxes = verify.synthetic_window((32, 64, 64), len(queries))
    graph = OpenVino(1, "a test").load(medal_s.out / "fine-prompted.onnx", "fp32", one_shape=True)
    encoded = graph({"image": image, "text": queries[None], "prompt": boxes})
    logits = np.tensordot(encoded["masks"][0], encoded["features"][0], 1)
    found = verify.agreement_of(
        logits, SYSTEMS["medal-s"].logits(medal_s.networks["fine"], image, queries, boxes)
    )
    assert found.share > 0.9999 and found.worst < CLOSE


def test_queries_are_text_plus_modality(medal_s: Made) -> None:
    """From the bank where it holds the text, else from the exported encoder: both are the network's."""
    tokens = write_tokenizer(medal_s.out.parent / "BioLORD", medal_s.out)
    texts = ["liver", "left kidney", "a left kidney, on US"]
    ids, mask = (torch.from_numpy(each) for each in tokens.batch(texts))
    with torch.no_grad():
        wanted = medal_s.encoder(ids, mask, torch.tensor([0, 1, 0])).numpy()
    assert np.abs(opened(medal_s).encode_prompts(QUERIES).text - wanted).max() < 1e-4


def test_the_manifest_tells_sources_and_digests(medal_s: Made) -> None:
    told = manifest(medal_s)
    names = {path.name for path in medal_s.out.iterdir() if path.is_file()} - {"manifest.json", KEPT}
    assert names <= set(told["files"]) and not list(medal_s.out.glob(".converting-*"))
    for name, entry in told["files"].items():
        assert hashlib.sha256((medal_s.out / name).read_bytes()).hexdigest() == entry["sha256"]
    assert told["provenance"]["files"]["coarse"]["step"] == 7
    assert told["network"]["coarse"]["window_dhw"] == [32, 64, 64]
    assert told["network"]["coarse"]["spacing_dhw_mm"] == [3.0, 1.5, 1.5]
    assert told["network"]["fine"]["window_dhw"] == [192, 192, 192], "the published one: no name tells"
    coarse, fine = told["stages"]
    assert (coarse["name"], coarse["role"], fine["name"], fine["role"]) == (
        "coarse",
        "locate",
        "fine",
        "refine",
    )
    assert coarse["window_voxels"] == 32 * 64 * 64
    assert coarse["layout"] == fine["layout"] == {"kind": "fit", "multiple": 32, "degrees": False}


def test_the_manifest_tells_the_window_that_was_measured(medal_s: Made) -> None:
    """The published one only where it is asked for; the small one says less about the norms' digits."""
    network = manifest(medal_s)["network"]
    assert network["coarse"]["measured_dhw"] == network["coarse"]["window_dhw"] == [32, 64, 64]
    assert network["fine"]["measured_dhw"] == [64, 64, 64]
    assert network["fine"]["window_dhw"] == [192, 192, 192]
    assert verify.measured_window((192, 192, 192), True) == (192, 192, 192)


def test_fp16_halves_the_weights_and_keeps_the_classes(medal_s: Made, tmp_path: Path) -> None:
    arguments = [a if a != "fp32" else "fp16" for a in medal_s.arguments]
    arguments[arguments.index("-o") + 1] = str(tmp_path)
    assert main([*arguments, "--no-text"]) == 0
    told = json.loads((tmp_path / "manifest.json").read_text())
    assert told["network"]["fine"]["agreement"]["fp32"]["share"] > verify.MIN_AGREEMENT
    sizes = [(folder / "fine.bin").stat().st_size for folder in (tmp_path, medal_s.out)]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    assert "text" not in told and not (tmp_path / "text.onnx").exists()
    model = QueryModel.open(read_profile(tmp_path), OnnxRuntime(1, "a test"))
    assert model.understands(make_prompt(1, "liver")).queries
    assert not model.understands(make_prompt(1, None, text="a sentence")).queries
    assert opened(medal_s).understands(make_prompt(1, None, text="a sentence")).queries
    with pytest.raises(ProfileError, match="--sentences"):
        model.encode_prompts(QUERIES)


def test_sat_has_one_network_and_no_spatial_prompts(sat: Made) -> None:
    model, told = opened(sat), manifest(sat)
    assert model.stage("coarse") is model.stage("fine") and set(told["graphs"]) == {"fine"}
    assert [(rule["name"], rule["role"]) for rule in told["stages"]] == [("fine", "refine")]
    assert not model.capabilities.mask and not model.stage("fine").takes_prompts
    image, masks = window((64, 32, 64), 2)
    probability = decode(model, "fine", image, None, QUERIES[:2]).probability
    text = model.encode_prompts(QUERIES[:2]).text
    raw = image[None, None].astype(np.float32)
    wanted = SYSTEMS["sat"].logits(sat.networks["fine"], raw, text, None)
    free = np.abs(wanted) < 8
    assert np.abs(logit(probability) - wanted)[free].max() < CLOSE * max(8, np.abs(wanted).max())
    with_masks = decode(model, "fine", image, masks.astype(np.float32), QUERIES[:2])
    assert np.array_equal(with_masks.probability, probability)


def test_modalities_that_the_weights_lack_are_not_covered(sat: Made) -> None:
    assert {t["modality"] for t in manifest(sat)["targets"]} == {"CT", "MR", "US", "PET"}
    with pytest.raises(ProfileError, match="not Microscopy"):
        opened(sat).encode_prompts([query("cell", None, "Microscopy")])


def test_a_wrong_file_leaves_the_folder_as_it_was(
    medal_s: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "manifest.json").write_text("the old one")
    arguments = list(medal_s.arguments)
    arguments[arguments.index("-o") + 1] = str(tmp_path)
    arguments[arguments.index("--stage2") + 1] = arguments[arguments.index("--text") + 1]
    assert main(arguments) == 2
    assert "lacks backbone.encoder.stages.0.0.convs.0.conv.weight" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert (tmp_path / "manifest.json").read_text() == "the old one"


def test_networks_and_encoder_of_different_widths_do_not_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(tmp_path / "odd", "sat", width=48)
    assert main([*made.arguments, "--no-text"]) == 0
    assert "do not belong together" in caplog.text
    with pytest.raises(ProfileError, match="do not belong together"):
        opened(made)


def test_windows_and_spacings_are_read_from_names() -> None:
    name = "nano_UNet_CVPR2025_crop_size_192_160_96_spacing_1.0_1.25_2.0_step_341300.pth"
    found = SYSTEMS["medal-s"].geometry_of("fine", Path(name))
    assert found.window_dhw == (96, 192, 160) and found.spacing_dhw_mm == (2.0, 1.0, 1.25)
    assert SYSTEMS["medal-s"].geometry_of("coarse", Path("x.pth")).window_dhw == (128, 224, 224)
    assert SYSTEMS["sat"].geometry_of("fine", Path("nano.pth")).window_dhw == (96, 288, 288)


def test_a_graph_that_is_off_is_refused() -> None:
    for off in (verify.Agreement(2e-4, 1.0), verify.Agreement(1e-5, 0.99)):
        with pytest.raises(ConversionError, match="differs from its network"):
            verify.check("a stage", off)
    verify.check("a stage", verify.Agreement(1e-5, 0.9995))


@pytest.mark.parametrize(("store", "stored"), [("auto", "fp32"), ("fp16", "fp16")])
def test_fp16_is_stored_where_it_was_measured_to_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, stored: str
) -> None:
    """Who asks for fp16 gets it, whatever it changes; else the weights stay as they were published."""
    told = iter([verify.Agreement(1e-3, 0.99), verify.Agreement(1e-5, 1.0)])
    monkeypatch.setattr(verify, "measure", lambda *_: {"fp32": next(told)})
    made = make(tmp_path / "files", "sat")
    made.arguments[made.arguments.index("--store") + 1] = store
    assert main([*made.arguments, "--no-text"]) == 0
    assert manifest(made)["network"]["fine"]["stored"] == stored


def test_bf16_is_used_where_it_was_measured_to_agree() -> None:
    good, bad = verify.Agreement(0.01, 0.9995), verify.Agreement(0.1, 0.99)
    assert verify.choose_precision("auto", {"bf16": good})[0] is None
    assert verify.choose_precision("auto", {"bf16": bad})[0] == "fp32"
    assert verify.choose_precision("auto", {})[0] == "fp32"
    assert verify.choose_precision("fast", {"bf16": bad})[0] is None
    assert verify.choose_precision("fp32", {"bf16": good})[0] == "fp32"


def test_the_winner_is_the_largest_positive_logit() -> None:
    logits = np.array([[-1.0, 2.0, 1.0], [-2.0, 1.0, 3.0]])
    assert verify.class_map(logits).tolist() == [0, 1, 2]
    assert verify.agreement_of(logits + [[0, 0, 0], [2.5, 0, 0]], logits).share == pytest.approx(2 / 3)


def test_agreement_on_background_alone_says_nothing() -> None:
    """Nothing is positive: any scale would agree; about each class's median it does not."""
    wanted = np.random.default_rng(0).normal(size=(3, 8, 8, 8)) - 50
    assert verify.agreement_of(wanted, wanted).share == 1.0
    assert verify.agreement_of(5 * wanted, wanted).share < 0.9


def test_what_is_no_number_never_agrees() -> None:
    wanted = -np.ones((2, 4, 4, 4))
    found = verify.agreement_of(np.full((2, 4, 4, 4), np.nan), wanted)
    assert (found.worst, found.share) == (np.inf, 0.0)
    with pytest.raises(ConversionError, match="differs from its network"):
        verify.check("a stage", verify.Agreement(np.nan, 1.0))
    with pytest.raises(ConversionError, match="The network itself gives NaN"):
        verify.agreement_of(wanted, np.full((2, 4, 4, 4), np.nan))


@pytest.mark.parametrize(("share", "stored"), [(0.99, "fp32"), (0.9995, "fp16")])
def test_the_text_encoder_is_rounded_where_that_was_measured_to_change_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, stored: str
) -> None:
    told = iter([verify.Agreement(1e-3, share), verify.Agreement(1e-6, 1.0)])
    monkeypatch.setattr(verify, "query_agreement", lambda *_: next(told))
    made = make(tmp_path / "files", "sat")
    made.arguments[made.arguments.index("--store") + 1] = "auto"
    assert main(made.arguments) == 0
    assert manifest(made)["text"]["stored"] == stored


def test_the_text_graph_is_compared_with_its_encoder(sat: Made) -> None:
    told = manifest(sat)["text"]
    assert told["stored"] == "fp32" and 0 < told["agreement"]["worst"] < CLOSE
    assert told["agreement"]["share"] > 0.999


def test_a_tokenizer_of_another_vocabulary_is_refused(sat: Made, tmp_path: Path) -> None:
    """All its tokens are known to the encoder, as others."""
    words = (
        (Path(sat.arguments[sat.arguments.index("--tokenizer") + 1]) / "vocab.txt").read_text().split("\n")
    )
    (tmp_path / "vocab.txt").write_text("\n".join(words[:-2]) + "\n")
    tokens = write_tokenizer(tmp_path, tmp_path)
    with pytest.raises(TokenizerError, match="They do not belong together"):
        encode(sat.encoder, tokens, ["liver"])


def test_a_folder_without_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"neither tokenizer.json nor vocab.txt"):
        write_tokenizer(tmp_path, tmp_path)
    (tmp_path / "vocab.txt").write_text("[UNK]\nliver\n")
    with pytest.raises(TokenizerError, match="CLS"):
        write_tokenizer(tmp_path, tmp_path)


def test_sentences_of_any_depth_are_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"CT_A": {"1": ["liver", "the liver"], "instance_label": 0}, "MR": "liver"}))
    assert read_sentences(path) == ["liver", "the liver"]
    path.write_text("{}")
    with pytest.raises(CheckpointError, match="no sentence"):
        read_sentences(path)


@pytest.mark.slow
def test_the_published_container_converts_as_it_is(shared: Path, tmp_path: Path) -> None:
    """Its network and its text encoder are of different widths, so only the graphs can be run."""
    fixtures = shared / "fixtures/medals"
    (file,) = (fixtures / "checkpoints").glob("*.pth")
    text = ["--text", str(fixtures / "text_tiny/text_encoder.pth")]
    tokenizer = ["--tokenizer", str(fixtures / "text_tiny/BioLORD-tiny")]
    stages = ["--stage1", str(file), "--stage2", str(file)]
    assert main(["medal-s", *stages, *text, *tokenizer, "-o", str(tmp_path), "--store", "fp32"]) == 0
    stored = np.load(file.parent / "expected_forward.npz")
    image = np.moveaxis(stored["image"], -1, 0)[None, None].astype(np.float32)
    graphs = {role: tmp_path / f"fine-{role}.onnx" for role in ("encoder", "embed")}
    found = verify.graph_logits(graphs, OnnxRuntime(1, "a test"), image, stored["queries"], None)
    logits = np.moveaxis(found, 1, -1)
    assert np.abs(logits - stored["logits"]).max() < CLOSE * np.abs(stored["logits"]).max()
    assert (verify.class_map(logits) == verify.class_map(stored["logits"])).mean() > 0.9999
