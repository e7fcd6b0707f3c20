"""VoxTell (Rokuss et al. 2026): free text to masks, published as plans, checkpoint and text embeddings.

Weights lie below ``network_weights`` of the checkpoint. There is no text model in the folder that is written:
sentences are those of the bank that was published with the weights, or the nearest of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.terms import MODALITIES
from vesal.inference.planning.manifest import Provenance, SourceFile
from vesal.inference.prompts.bank_labels import vocabulary_labels
from vesal.inference.prompts.label_vectors import make_label_vectors, write_label_vectors
from vesal.inference.prompts.sentence_encoder import SentenceEncoder
from vesal.inference.prompts.text_bank import TextBank, read_text_bank, write_text_bank
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runtime.choice import choose_runtime
from vesal.networks.voxtell import VoxTell
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.folder import Options, source, write_folder
from vesal.weights.convert.formats import open_weights
from vesal.weights.convert.keymap import load
from vesal.weights.convert.published_folder import FolderSystem
from vesal.weights.convert.system import PROFILES, PublishedFile
from vesal.weights.convert.voxtell_folder import MODEL, PublishedFiles, find_files, read_window
from vesal.weights.convert.voxtell_graphs import Sides
from vesal.weights.convert.voxtell_names import NETWORK, TITLE, check_doubles
from vesal.weights.convert.voxtell_write import ROLES, WEIGHTS, write_graphs
from vesal.weights.digest import sha256

log = logging.getLogger("vesal")

NAME = "voxtell"
BANK, LABEL_VECTORS = "bank.npz", "label_vectors.npz"
BANKS = WHOLE, VOCABULARY = "whole", "vocabulary"
PROVENANCE = Provenance(
    paper="Rokuss et al. 2026, VoxTell: Free-Text Promptable Universal 3D Medical Image Segmentation",
    repository="https://github.com/MIC-DKFZ/VoxTell",
    commit="8ef0332",
    code_licence="Apache-2.0",
    weights_licence="CC-BY-NC-SA-4.0",
    modalities=tuple(name for name in MODALITIES if name in ("CT", "MR", "PET")),
)
PROFILE = PROFILES / NAME / "profile"


def convert_voxtell(
    folder: Path,
    out: Path,
    options: Options,
    bank_file: Path | None = None,
    kept: str = WHOLE,
    int8: bool = True,
) -> dict[str, Any]:
    """Write a folder that the engine opens.

    Args:
        folder: as published, see ``voxtell_folder.find_files``.
        out: where to write; files of an earlier conversion are replaced when everything is done.
        options: see ``folder.Options``; sentences are not asked for.
        bank_file: text embeddings, where they do not lie as published.
        kept: one of ``BANKS``: which labels of it stay.
        int8: whether linear layers may be stored in 8 bits, see ``voxtell_write.write_graphs``.

    Returns:
        the manifest.

    Raises:
        CheckpointError: a file is not there, or not the published one.
        ConversionError: a graph does not give what the network gives.
    """
    files = find_files(folder, bank_file)

    def make(work: Path) -> dict[str, Any]:
        # First: it is small, and a wrong file should not cost the rest.
        bank = _read_bank(files.bank)
        network, sources = _read_network(files)
        if bank.width != network.sizes.text:
            raise CheckpointError(
                f"{files.bank} has embeddings of {bank.width} numbers, the network of {files.checkpoint} "
                f"takes {network.sizes.text}. They do not belong together: give the bank of this model."
            )
        window = read_window(files.plans, network.sizes)
        told_of_bank = _write_bank(bank, kept, work)
        found = write_graphs(network, window, bank.embeddings, work, options, int8)
        told = msgspec.structs.replace(PROVENANCE, files=sources)
        own = json.loads((PROFILE / "profile.json").read_text(encoding="utf-8"))
        return {
            "name": NAME,
            "version": 1,
            "family": NAME,
            "licence": PROVENANCE.weights_licence,
            "about": f"Converted from the published weights of {TITLE}; their digests stand below.",
            "graphs": ROLES,
            "bank": BANK,
            "label_vectors": LABEL_VECTORS,
            "network": {
                "window_dhw": list(window),
                "text": network.sizes.text,
                "parameters": sum(p.numel() for p in network.parameters()),
                **found,
                "bank": told_of_bank,
            },
            "provenance": msgspec.to_builtins(told),
            "targets": [],
            **_of_window(own, window),
        }

    return write_folder(out, PROFILE, make)


def _read_bank(path: Path) -> TextBank:
    try:
        return read_text_bank(path)
    except ProfileError as error:
        raise CheckpointError(f"{error} Wanted is the published bank of text embeddings.") from error


def _read_network(files: PublishedFiles) -> tuple[VoxTell, dict[str, SourceFile]]:
    """The network, and where all comes from."""
    file = open_weights(files.checkpoint)
    doubles = check_doubles(file)
    network = load(file, NETWORK)
    log.info(
        "%d tensors, of which %d are another's double and %d are never run",
        len(file.shapes),
        doubles,
        len(file.shapes) - doubles - len(network.state_dict()),
    )
    others = {"plans": files.plans, "bank": files.bank}
    return network, {
        "network": source(file),
        **{role: SourceFile(path.name, sha256(path)) for role, path in others.items()},
    }


def _write_bank(bank: TextBank, kept: str, work: Path) -> dict[str, Any]:
    """Write the bank, or what the vocabulary needs of it, with what finds the label nearest to a sentence.

    Returns:
        labels and megabytes of what was published and of what was kept.
    """
    needed = bank.part(vocabulary_labels(bank.labels, load_vocabulary()))
    told = {"published": _told(bank), "vocabulary": _told(needed), "kept": kept}
    log.info("bank: %s as published, %s for the vocabulary; kept: %s", *told.values())
    bank = needed if kept == VOCABULARY else bank
    if not bank.labels:
        raise CheckpointError(
            f"None of the bank's labels names a target of the vocabulary. Convert with --bank {WHOLE}."
        )
    write_text_bank(work / BANK, bank)
    encoder = SentenceEncoder(PROFILES / "text", choose_runtime("onnxruntime"))
    write_label_vectors(work / LABEL_VECTORS, make_label_vectors(bank.labels, encoder), encoder)
    return told


def _told(bank: TextBank) -> str:
    return f"{len(bank.labels):,} labels, {2e-6 * bank.embeddings.size:.1f} MB"


def _of_window(own: Mapping[str, Any], window: Sides) -> dict[str, Any]:
    """The published rules with the window of the plans, of which there is one size."""
    sides = {"window_dhw": list(window)}
    stages = [
        {**stage, "window_voxels": math.prod(window), "layout": {**stage["layout"], **sides}}
        for stage in own["stages"]
    ]
    return {**own, "stages": stages}


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--bank-file", type=Path, help="text_embeddings.npz, where it lies elsewhere than as published"
    )
    command.add_argument(
        "--bank",
        choices=BANKS,
        default=WHOLE,
        help="labels of the bank that are kept: all, or those that this engine's vocabulary needs",
    )
    command.add_argument(
        "--int8",
        choices=("auto", "off"),
        default="auto",
        help="auto: with --store auto, linear layers in 8 bits where that changes less than 0.1 %% of voxels",
    )


def _convert(parsed: argparse.Namespace, options: Options) -> list[str]:
    manifest = convert_voxtell(
        parsed.folder, parsed.output, options, parsed.bank_file, parsed.bank, parsed.int8 == "auto"
    )
    facts = manifest["network"]
    return [
        f"{parsed.output / WEIGHTS}: {facts['parameters']:,} parameters, {facts['stored']}, agreement: "
        f"{facts['agreement']}"
    ]


VOXTELL = FolderSystem(
    name=NAME,
    title=TITLE,
    given=(
        PublishedFile("folder", "all", "the published folder, or the one that holds it and the bank", MODEL),
    ),
    add_options=_add_options,
    convert=_convert,
    provenance=PROVENANCE,
)
