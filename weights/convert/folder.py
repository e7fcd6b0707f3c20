"""The folder that a conversion writes: graphs, bank, tokenizer, rules, manifest; all of it or nothing new."""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice
from vesal.inference.data.terms import FINE, LOCATE, MODALITIES, REFINE
from vesal.inference.families.registry import QUERY
from vesal.inference.geometry.views import sides_text
from vesal.inference.planning.manifest import SourceFile
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.networks.mpnet_text import MPNetText
from vesal.weights.convert import text, verify
from vesal.weights.convert.checkpoint import Checkpoint
from vesal.weights.convert.formats import WeightsFile
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.keymap import load
from vesal.weights.convert.system import PROMPTED, Geometry, StageNetwork, System
from vesal.weights.digest import sha256

log = logging.getLogger("vesal")

MANIFEST, PROFILE = "manifest.json", "profile"


MIN_MULTIPLE = 4
"""The least that a layout takes for what sides are multiples of."""


@dataclass(frozen=True)
class Options:
    """How to convert."""

    store: str = "auto"
    """Precision of the stored weights: ``fp16``, ``fp32``, or ``auto``: fp16 where it changes few voxels."""
    precision: str = "auto"
    """``auto`` measures whether bf16 is good enough, ``fp32`` forbids it, ``fast`` lets it be."""
    sentences: tuple[str, ...] = ()
    """More texts for the bank."""
    keep_text: bool = True
    """Whether the text encoder goes along, for sentences that the bank does not hold."""
    published_window: bool = False
    """Whether graphs are measured at the window of their stage, or at ``verify.MAX_SIDE`` voxels a side."""
    cross_slice: CrossSlice = NO_CROSS_SLICE
    """How slices see each other, of a network that can do so."""


def convert(
    system: System, stages: Mapping[str, Path], text_file: Path, tokenizer: Path, out: Path, options: Options
) -> dict[str, Any]:
    """Write a folder that the engine opens.

    Args:
        system: one of ``systems.SYSTEMS``.
        stages: published file by stage, as ``system.files`` lists them.
        text_file: published file of the text encoder.
        tokenizer: folder with ``tokenizer.json`` or ``vocab.txt``.
        out: where to write; files of an earlier conversion are replaced when everything is done.
        options: see ``Options``.

    Returns:
        the manifest.

    Raises:
        CheckpointError, TokenizerError: see ``Checkpoint``, ``keymap.load`` and ``text.write_tokenizer``.
        ConversionError: a graph does not give what its network gives.
    """
    return write_folder(
        out,
        system.profile,
        lambda work: _convert(system, stages, text_file, tokenizer, work, options),
    )


def write_folder(
    out: Path, rules: Path | None, make: Callable[[Path], dict[str, Any]], manifest_name: str = MANIFEST
) -> dict[str, Any]:
    """Write a folder all at once, or nothing new.

    Args:
        out: where to write; files of an earlier conversion are replaced when everything is done.
        rules: folder with the published rules as data, copied along; None where there is none.
        make: writes all files into a folder that it is given, and returns the manifest without their digests.
        manifest_name: its file; the engine opens a folder with a ``manifest.json``.

    Returns:
        the manifest.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".converting-") as scratch:
        work = Path(scratch)
        manifest = make(work)
        if rules is not None and out.resolve() != rules.parent:
            shutil.copytree(rules, out / PROFILE, dirs_exist_ok=True)
        written = sorted(path.name for path in work.iterdir())
        for name in written:
            (work / name).replace(out / name)
        with_rules = sorted(f"{PROFILE}/{path.name}" for path in (out / PROFILE).glob("*.json"))
        manifest["files"] = {name: {"sha256": sha256(out / name)} for name in [*written, *with_rules]}
        # Last: a folder without it is none that the engine opens.
        (work / manifest_name).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (work / manifest_name).replace(out / manifest_name)
    return manifest


def _convert(
    system: System, stages: Mapping[str, Path], text_file: Path, tokenizer: Path, work: Path, options: Options
) -> dict[str, Any]:
    # The text encoder first: it is small, and a wrong folder for its tokenizer should not cost the rest.
    encoder_file = Checkpoint(text_file)
    encoder = load(encoder_file, system.text)
    tokens = text.write_tokenizer(tokenizer, work)
    vectors = text.write_bank(work / text.BANK, encoder, tokens, options.sentences)
    modalities = MODALITIES[: encoder.modality_embed.num_embeddings]
    manifest: dict[str, Any] = {
        "name": system.name,
        "version": 1,
        "family": QUERY,
        "licence": "that of the published weights",
        "about": f"Converted from the published weights of {system.title}; their digests stand below.",
        "graphs": {},
        "network": {},
        "bank": text.BANK,
    }
    some = slice(0, None, max(1, len(vectors) // verify.N_QUERIES))
    names = text.bank_names(options.sentences)[some][: verify.N_QUERIES]
    queries = vectors[some][: verify.N_QUERIES]
    modality = encoder.modality_embed.weight.detach().numpy()[0]
    with_modality = queries + modality
    sources = {"text": source(encoder_file), "tokenizer": SourceFile(tokenizer.name)}
    for stage, path in stages.items():
        checkpoint = Checkpoint(path)
        network = load(checkpoint, system.network)
        sources[stage] = source(checkpoint)
        asked = _queries(network, checkpoint, with_modality)
        manifest["graphs"][stage], manifest["network"][stage] = _stage(
            system, network, stage, system.geometry_of(stage, path), asked, work, options
        )
    if options.keep_text:
        manifest["text"] = _text(system, encoder, names, queries, modality, network, work, options)
    else:
        (work / text.TOKENIZER).unlink()
    (work / "traced").unlink(missing_ok=True)
    told = msgspec.structs.replace(system.provenance, files=sources, modalities=modalities)
    manifest["provenance"] = msgspec.to_builtins(told)
    return {**manifest, **rules_of(system, manifest["network"], modalities)}


def _text(
    system: System,
    encoder: MPNetText,
    names: Sequence[str],
    queries: np.ndarray,
    modality: np.ndarray,
    network: StageNetwork,
    work: Path,
    options: Options,
) -> dict[str, Any]:
    """Write the text encoder's graph, stored as the stages are; returns what the manifest tells of it.

    Args:
        system: of the network.
        encoder: whose graph it is.
        names: some texts.
        queries: (N, E) what the encoder makes of them.
        modality: (E,) what is added to them.
        network: of a stage, to see what a rounded query changes.
        work: folder to write to.
        options: see ``Options``.
    """

    def write(stored: str) -> verify.Agreement | None:
        graph = text.text_graph(encoder, work / "traced")
        save_graphs({text.GRAPH: graph}, work, text.WEIGHTS, stored == "fp16")
        if network.sizes.query != queries.shape[1]:
            return None
        return verify.query_agreement(
            system.run_of(network), work / text.GRAPH, work / text.TOKENIZER, names, queries, modality
        )

    stored = "fp32" if options.store == "fp32" else "fp16"
    found = write(stored)
    if found and stored == "fp16" and found.share < verify.MIN_AGREEMENT:
        log.warning("text encoder: fp16 changes the class of %.2f %% of voxels", 100 * (1 - found.share))
        if options.store == "auto":
            stored, found = "fp32", write("fp32")
    if found and stored == "fp32":
        verify.check("the text encoder", found)
    agreement = asdict(found) if found else None
    return {"graph": text.GRAPH, "tokenizer": text.TOKENIZER, "stored": stored, "agreement": agreement}


def _queries(network: StageNetwork, checkpoint: Checkpoint, real: np.ndarray) -> np.ndarray:
    """Queries (N, E) to compare a graph with: ``real`` (N, E), or random ones where these have another width.

    Such a pair is converted all the same, for who has only one of the two; the engine refuses to open it.
    """
    width = network.sizes.query
    if real.shape[1] == width:
        return real
    log.warning(
        "%s takes queries of %d numbers, the text encoder gives %d: they do not belong together. The folder "
        "is written, but nothing can be asked of it until it is converted with the encoder of this network.",
        checkpoint.path.name,
        width,
        real.shape[1],
    )
    return np.random.default_rng(verify.SEED).normal(size=(len(real), width)).astype(np.float32)


def _stage(
    system: System,
    network: StageNetwork,
    stage: str,
    geometry: Geometry,
    queries: np.ndarray,
    work: Path,
    options: Options,
) -> tuple[dict[str, str], dict[str, Any]]:
    """Write the graphs of one stage, compared with their network for queries (N, E).

    Returns:
        their file names by role, and the stage's entry of the manifest.
    """
    stored = "fp32" if options.store == "fp32" else "fp16"
    window = verify.measured_window(geometry.window_dhw, options.published_window)
    roles, found = _write(system, network, stage, window, queries, work, stored)
    if stored == "fp16" and found["fp32"].share < verify.MIN_AGREEMENT:
        changed = 1 - found["fp32"].share
        log.warning("%s stage: weights in fp16 change the class of %.2f %% of voxels", stage, 100 * changed)
        if options.store == "auto":
            stored = "fp32"
            roles, found = _write(system, network, stage, window, queries, work, stored)
    if stored == "fp32":
        verify.check(f"the {stage} stage", found["fp32"])
    precision, why = verify.choose_precision(options.precision, found)
    log.info(
        "%s stage: %s; %s, measured at %s of %s voxels (D,H,W)",
        stage,
        precision or "precision left to the runtime",
        why,
        sides_text(window),
        sides_text(geometry.window_dhw),
    )
    facts = {
        **{key: list(value) for key, value in asdict(geometry).items()},
        "multiple": network.sizes.side_multiple,
        "prompts": PROMPTED in roles,
        "query": network.sizes.query,
        "parameters": sum(p.numel() for p in network.parameters()),
        "stored": stored,
        "precision": precision,
        "why": why,
        "agreement": {name: asdict(each) for name, each in found.items()},
        "measured_dhw": list(window),
    }
    return roles, facts


def _write(
    system: System,
    network: StageNetwork,
    stage: str,
    window: tuple[int, int, int],
    queries: np.ndarray,
    work: Path,
    stored: str,
) -> tuple[dict[str, str], dict[str, verify.Agreement]]:
    """Write the graphs of one stage.

    Returns:
        their file names by role, and their agreement for queries (N, E) in a window (D, H, W), by precision.
    """
    graphs = system.graphs(network, work / "traced")
    roles = {role: f"{stage}-{role}.onnx" for role in graphs}
    save_graphs(
        {roles[role]: graph for role, graph in graphs.items()}, work, f"{stage}.bin", stored == "fp16"
    )
    del graphs
    paths = {role: work / name for role, name in roles.items()}
    return roles, verify.measure(system.run_of(network), paths, queries, window)


def rules_of(system: System, network: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, Any]:
    """What the engine needs besides: a window per stage, all targets; the profile's own rules come first."""
    targets = [
        {"concept": c.name, "side": side, "modality": modality}
        for c in load_vocabulary().concepts.values()
        if c.target
        for side in ((None, "left", "right") if c.sided else (None,))
        for modality in modalities
    ]
    path = system.profile / "profile.json" if system.profile else None
    own = json.loads(path.read_text(encoding="utf-8")) if path else {}
    rules = {"postprocess": [], "targets": targets, **own}
    # One window is what a network was trained to see.
    rules["stages"] = [
        {
            "layout": {"kind": "fit", "multiple": max(MIN_MULTIPLE, facts["multiple"]), "degrees": False},
            **own_stage(own, stage),
            "name": stage,
            "window_voxels": math.prod(facts["window_dhw"]),
        }
        for stage, facts in network.items()
    ]
    return rules


def own_stage(own: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the profile's own rules say of a stage, whose role follows from its name."""
    said: dict[str, Any] = next((rule for rule in own.get("stages", ()) if rule["name"] == name), {})
    return {"role": REFINE if name == FINE else LOCATE, **said}


def source(checkpoint: WeightsFile) -> SourceFile:
    """Where weights came from."""
    return SourceFile(checkpoint.path.name, sha256(checkpoint.path), checkpoint.step)
