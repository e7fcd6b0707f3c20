"""Published checkpoints to a folder that the engine runs.

    python -m vesal.weights.convert medal-s \\
        --stage1 nano_UNet_CVPR2025_crop_size_224_224_128_..._step_358600.pth \\
        --stage2 nano_UNet_CVPR2025_crop_size_192_192_192_..._step_341300.pth \\
        --text text_encoder.pth --tokenizer BioLORD-2023-C -o weights/medal-s
    python -m vesal.weights.convert sat --model nano.pth --text nano_text_encoder.pth \\
        --tokenizer BioLORD-2023-C -o weights/sat
    python -m vesal.weights.convert biomedparse-v --checkpoint biomedparse_v2.ckpt \\
        --tokenizer clip-vit-base-patch32 -o weights/biomedparse-v
    python -m vesal.weights.convert segvol --checkpoint SegVol_v1.pth \\
        --tokenizer config/clip -o weights/segvol
    python -m vesal.weights.convert voxtell --folder voxtell_v1.1 -o weights/voxtell
    python -m vesal.weights.convert pumit --checkpoint pumit-b.ckpt -o backbone
    python -m vesal.weights.convert pumit-btcv --checkpoint last.ckpt -o weights/pumit-btcv
    python -m vesal.weights.convert --list
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from vesal.inference.data.cross_slice import CrossSlice
from vesal.inference.data.errors import UsageError, VesalError
from vesal.inference.output.text_table import aligned
from vesal.weights.convert.backbone import WEIGHTS as BACKBONE
from vesal.weights.convert.backbone import BackboneSystem, convert_backbone
from vesal.weights.convert.closed_list import ClosedListSystem, convert_closed_list
from vesal.weights.convert.errors import MissingTensorsError
from vesal.weights.convert.folder import Options, convert
from vesal.weights.convert.one_file import WEIGHTS, OneFileSystem, convert_one_file
from vesal.weights.convert.published_folder import FolderSystem
from vesal.weights.convert.system import System
from vesal.weights.convert.systems import SYSTEMS
from vesal.weights.convert.text import read_sentences

log = logging.getLogger("vesal")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m vesal.weights.convert", description=__doc__.split("\n")[0])
    top.add_argument("--list", action="store_true", help="list what can be converted, and from which files")
    systems = top.add_subparsers(dest="system")
    for known in SYSTEMS.values():
        system = systems.add_parser(known.name, help=known.title)
        for file in known.given:
            system.add_argument(f"--{file.argument}", type=Path, required=True, help=file.help)
        _add_output(system)
        if isinstance(known, BackboneSystem):
            system.add_argument("--graphs", action="store_true", help="write its ONNX graphs as well")
            continue
        _add_options(system)
        if isinstance(known, System):
            system.add_argument("--sentences", type=Path, help="JSON with more sentences for the bank")
            system.add_argument("--no-text", action="store_true", help="leave the text encoder out")
        elif isinstance(known, FolderSystem):
            known.add_options(system)
        elif isinstance(known, OneFileSystem) and known.sees_slices:
            system.add_argument(
                "--cross-slice",
                type=int,
                nargs="+",
                default=[],
                metavar=("HEADS", "OFFSET"),
                help="let so many heads look at other slices (docs/bio2vol.md): all as far, one way and the "
                "other in turn (default: 2), or one offset for each",
            )
    return top


def _add_output(system: argparse.ArgumentParser) -> None:
    """Where to write, and what of: options of every system."""
    system.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    system.add_argument(
        "--store",
        choices=("auto", "fp16", "fp32"),
        default="auto",
        help="stored weights; auto: fp16 where it is measured to change next to nothing",
    )


def _add_options(system: argparse.ArgumentParser) -> None:
    """Options of every system that segments."""
    system.add_argument(
        "--precision",
        choices=("auto", "fp32", "fast"),
        default="auto",
        help="auto: bf16 where measured to change less than 0.1 %% of voxels; fast: as the runtime likes",
    )
    system.add_argument(
        "--window",
        choices=("small", "published"),
        default="small",
        help="to measure at: 64 voxels a side (128 of a slice), or the network's own, in minutes and 12 GB",
    )


def table() -> str:
    """What can be converted: a row for every file, with paper and licences in a system's first."""
    rows: list[tuple[str | None, ...]] = [
        ("system", "option", "published as", "licence of code", "of weights", "paper")
    ]
    for system in SYSTEMS.values():
        told = system.provenance
        first = (told.code_licence, told.weights_licence, told.paper)
        for number, given in enumerate(system.given):
            file = (f"--{given.argument}", given.published_as)
            rows.append(("", *file, "", "", "") if number else (system.name, *file, *first))
    return "\n".join(aligned(rows))


def main(arguments: list[str] | None = None) -> int:
    """Convert; returns 0, or 2 where a file is not what is wanted, which the log explains."""
    command = parser()
    parsed = command.parse_args(arguments)
    if parsed.list:
        print(table())
        return 0
    if parsed.system is None:
        command.error(f"name a system, one of {', '.join(SYSTEMS)}; --list tells more")
    system = SYSTEMS[parsed.system]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if isinstance(system, FolderSystem):
            told = system.convert(parsed, _options(parsed))
        elif isinstance(system, BackboneSystem):
            told = _of_backbone(system, parsed)
        elif isinstance(system, OneFileSystem | ClosedListSystem):
            told = _of_one_file(system, parsed)
        else:
            told = _of_stages(system, parsed)
    except MissingTensorsError as error:
        log.error("%s\nMissing: %s", error, ", ".join(error.missing) or "all")
        return 2
    except VesalError as error:
        log.error("%s", error)
        return 2
    except OSError as error:
        log.error("%s cannot be written: %s", parsed.output, error.strerror)
        return 2
    for line in told:
        log.info("%s", line)
    return 0


def _options(parsed: argparse.Namespace) -> Options:
    """What every system is told."""
    return Options(parsed.store, parsed.precision, published_window=parsed.window == "published")


def _of_stages(system: System, parsed: argparse.Namespace) -> list[str]:
    """Convert a network a stage; returns what to tell of it."""
    stages = {file.stage: getattr(parsed, file.argument) for file in system.files}
    sentences = tuple(read_sentences(parsed.sentences)) if parsed.sentences else ()
    options = replace(_options(parsed), sentences=sentences, keep_text=not parsed.no_text)
    manifest = convert(system, stages, parsed.text, parsed.tokenizer, parsed.output, options)
    return [
        f"{parsed.output / f'{stage}.bin'}: {facts['stored']}, agreement in a window of "
        f"{'x'.join(map(str, facts['measured_dhw']))} (D,H,W): {facts['agreement']}"
        for stage, facts in manifest["network"].items()
    ]


def _of_backbone(system: BackboneSystem, parsed: argparse.Namespace) -> list[str]:
    """Convert a backbone; returns what to tell of it."""
    checkpoint = getattr(parsed, system.files[0].argument)
    about = convert_backbone(system, checkpoint, parsed.output, parsed.store, parsed.graphs)
    return [
        f"{parsed.output / BACKBONE}: {about['parameters']:,} parameters, {about['stored']}, which changes "
        f"features by {about['changed']:.1e} of their length; begin a training with it by --backbone "
        f"{parsed.output}"
    ]


def _cross_slice(heads: int, *offsets: int) -> CrossSlice:
    """What ``--cross-slice`` asks for. Raises UsageError."""
    offset = list(offsets) if len(offsets) > 1 else (offsets or (2,))[0]
    try:
        return msgspec.convert({"heads": heads, "offset": offset}, CrossSlice)
    except msgspec.ValidationError as error:
        raise UsageError(f"--cross-slice {heads} {' '.join(map(str, offsets))}: {error}") from None


def _of_one_file(system: OneFileSystem | ClosedListSystem, parsed: argparse.Namespace) -> list[str]:
    """Convert one file; returns what to tell of it."""
    options = _options(parsed)
    checkpoint = getattr(parsed, system.files[0].argument)
    if isinstance(system, ClosedListSystem):
        manifest = convert_closed_list(system, checkpoint, parsed.output, options)
    else:
        if system.sees_slices and parsed.cross_slice:
            options = replace(options, cross_slice=_cross_slice(*parsed.cross_slice))
        manifest = convert_one_file(system, checkpoint, parsed.tokenizer, parsed.output, options)
    facts = manifest["network"]
    return [
        f"{parsed.output / WEIGHTS}: {facts['parameters']:,} parameters, {facts['stored']}, agreement: "
        f"{facts['agreement']}"
    ]


if __name__ == "__main__":
    sys.exit(main())
