"""Systems whose one published file holds everything, text encoder included: no stage of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import onnx

from vesal.inference.data.cross_slice import CrossSlice
from vesal.inference.planning.manifest import Provenance, SourceFile
from vesal.weights.convert import verify
from vesal.weights.convert.clip_tokenizer import TOKENIZER
from vesal.weights.convert.errors import ConversionError
from vesal.weights.convert.folder import Options, source, write_folder
from vesal.weights.convert.formats import open_weights
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.keymap import Part, load
from vesal.weights.convert.system import PublishedFile

log = logging.getLogger("vesal")

WEIGHTS = "weights.bin"
"""What all graphs share."""


@dataclass(frozen=True)
class OneFileSystem:
    """One published system."""

    name: str
    """As the command and the folder in ``weights/`` call it."""
    title: str
    files: tuple[PublishedFile]
    tokenizer: PublishedFile
    family: str
    """Of ``inference.families`` that opens the folder."""
    network: Part[Any]
    graphs: Callable[[Any, Path], dict[str, onnx.ModelProto]]
    """(network, file for the exporter) -> the graphs by role."""
    measure: Callable[[Any, Mapping[str, Path], bool], dict[str, verify.Agreement]]
    """(network, graph files by role, whether at the published size) -> agreement by precision."""
    facts: Callable[[Any], dict[str, Any]]
    """What the manifest tells of a network."""
    write_tokenizer: Callable[[Path, Path], int]
    """(folder, folder to write to) -> tokens that it has."""
    provenance: Provenance
    profile: Path
    """Folder with ``profile.json``, the published rules as data."""
    write_bank: Callable[[Any, Path], Path] | None = None
    """(network, folder with its tokenizer) -> the bank that it wrote there, where the system has one."""
    sees_slices: bool = False
    """Whether slices of its network can see each other (``CrossSlice``)."""

    @property
    def given(self) -> tuple[PublishedFile, ...]:
        """All that the command is given."""
        return (*self.files, self.tokenizer)


def convert_one_file(
    system: OneFileSystem, checkpoint: Path, tokenizer: Path, out: Path, options: Options
) -> dict[str, Any]:
    """Write a folder that the engine opens.

    Args:
        system: which the file is of.
        checkpoint: the published file.
        tokenizer: folder of its tokenizer.
        out: where to write; files of an earlier conversion are replaced when everything is done.
        options: see ``folder.Options``; sentences are not asked for.

    Returns:
        the manifest.

    Raises:
        CheckpointError: see ``formats.open_weights`` and ``keymap.load``.
        TokenizerError: see ``OneFileSystem.write_tokenizer``.
        ConversionError: a graph does not give what the network gives, or the network has too few heads for
            slices that see each other.
    """

    def make(work: Path) -> dict[str, Any]:
        # First: it is small, and a wrong folder should not cost the rest.
        tokens = system.write_tokenizer(tokenizer, work)
        file = open_weights(checkpoint)
        network = load(file, system.network)
        sources = {"network": source(file), "tokenizer": SourceFile(tokenizer.name)}
        del file  # what is mapped of it counts as memory
        facts = system.facts(network)
        crossed = _look_across(network, options.cross_slice)
        if tokens != facts["vocabulary"]:
            log.warning(
                "The tokenizer has %d tokens, the text encoder %d: they do not belong together. The folder "
                "is written; sentences whose tokens the encoder does not have cannot be asked of it.",
                tokens,
                facts["vocabulary"],
            )
        bank = {"bank": system.write_bank(network, work).name} if system.write_bank else {}
        roles, measured = written_graphs(system, network, work, options)
        told = msgspec.structs.replace(system.provenance, files=sources)
        own = json.loads((system.profile / "profile.json").read_text(encoding="utf-8"))
        return {
            "name": system.name,
            "version": 1,
            "family": system.family,
            "licence": "that of the published weights",
            "about": f"Converted from the published weights of {system.title}; their digests stand below.",
            "graphs": roles,
            "tokenizer": TOKENIZER,
            **bank,
            "network": {
                **facts,
                **crossed,
                "parameters": sum(p.numel() for p in network.parameters()),
                **measured,
            },
            "provenance": msgspec.to_builtins(told),
            "postprocess": [],
            "targets": [],
            **crossed,
            **own,
        }

    return write_folder(out, system.profile, make)


def _look_across(network: Any, cross: CrossSlice) -> dict[str, Any]:
    """Let slices of a network see each other, and what a manifest says of it: nothing where they do not."""
    if not cross.heads:
        return {}
    try:
        network.look_across(cross)
    except ValueError as error:
        raise ConversionError(f"--cross-slice: {error}") from None
    return {"cross_slice": msgspec.to_builtins(cross)}


class GraphSource(Protocol):
    """What is needed of a system to write and measure its graphs; see ``OneFileSystem``."""

    @property
    def title(self) -> str: ...

    @property
    def graphs(self) -> Callable[[Any, Path], dict[str, onnx.ModelProto]]: ...

    @property
    def measure(self) -> Callable[[Any, Mapping[str, Path], bool], dict[str, verify.Agreement]]: ...


def written_graphs(
    system: GraphSource, network: Any, work: Path, options: Options
) -> tuple[dict[str, str], dict[str, Any]]:
    """Write the graphs.

    Returns:
        their file names by role, and what was measured of them.
    """

    def write(stored: str) -> tuple[dict[str, str], dict[str, verify.Agreement]]:
        graphs = system.graphs(network, work / "traced")
        (work / "traced").unlink(missing_ok=True)
        roles = {role: f"{role.replace('_', '-')}.onnx" for role in graphs}
        save_graphs({roles[role]: graph for role, graph in graphs.items()}, work, WEIGHTS, stored == "fp16")
        del graphs
        paths = {role: work / name for role, name in roles.items()}
        return roles, system.measure(network, paths, options.published_window)

    stored = "fp32" if options.store == "fp32" else "fp16"
    roles, found = write(stored)
    if stored == "fp16" and found["fp32"].share < verify.MIN_AGREEMENT:
        log.warning("weights in fp16 change the class of %.2f %% of voxels", 100 * (1 - found["fp32"].share))
        if options.store == "auto":
            stored = "fp32"
            roles, found = write(stored)
    if stored == "fp32":
        verify.check(system.title, found["fp32"])
    precision, why = verify.choose_precision(options.precision, found)
    log.info("%s; %s", precision or "precision left to the runtime", why)
    return roles, {
        "stored": stored,
        "precision": precision,
        "why": why,
        "agreement": {name: asdict(each) for name, each in found.items()},
    }
