"""Peak memory of the largest cases: `python -m benchmarks.memory`.

Each case is run from its npz to its label map in a process of its own, with the rules, windows and text
vectors of the weights and a made-up network whose outputs have the true size: 120 prompts on 512x512x600
voxels take minutes instead of hours. Peak is the kernel's count of resident memory. What the network's own
activations take is not in it; a run of the true network on one window stands below.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.tables import Row, finish, markdown
from vesal.inference.geometry.views import sides_text
from vesal.inference.runtime.machine import MB, peak_mb

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MB = 4096.0
LIMIT_LONG_MB = 512.0
LIMIT_RATIO = 1.15
TYPES = {"i2": 5, "f4": 3.7, "f8": 3.7}
"""What a volume of uint8 is stored as, and what it is multiplied by."""
SEED = 11


def main(arguments: list[str] | None = None) -> int:
    """Run the cases one after the other; return 1 where one takes more than the limit."""
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--shape", type=int, nargs=3, default=(600, 512, 512), help="D H W")
    parser.add_argument("--long", type=int, default=200_000, help="voxels of a long axis")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(run_case(Path(options.case), options.weights)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        size = sides_text(options.shape)
        plain = Path(folder, "plain.npz")
        write_case(plain, options.shape, sentences(options.prompts, options.weights), instance=False)
        rows += measured(f"{options.prompts} prompts on {size}", plain, options.weights)
        single = Path(folder, "objects.npz")
        write_case(single, options.shape, {"1": "cell nucleus in light-sheet microscopy"}, instance=True)
        rows += measured(f"objects of one prompt on {size}, windows over the whole", single, options.weights)
        rows += type_rows(plain, rows[0].value, options.weights)
        rows += long_rows(Path(folder), options.long, options.weights)
    rows.append(network_row(options.weights))
    title = "Memory"
    print(markdown(title, rows))
    return finish({title: rows}, options.json)


def measured(what: str, case: Path, weights: Path, limit: float = LIMIT_MB) -> list[Row]:
    """The rows of one case, run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--case", str(case), "--weights", str(weights)]
    result = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout)
    note = f"{result['seconds']:.0f} s, {result['views']} views, {result['windows']} windows"
    if result["state"] != "ok":
        note = f"{result['state']}: {result['error']}"
    return [Row(f"peak resident, {what}", result["peak_mb"], "MB", limit=limit, note=note)]


def type_rows(case: Path, uint8_mb: float | None, weights: Path) -> list[Row]:
    """The same volume in other types, beside uint8's peak and the bytes that the volume itself takes more."""
    with np.load(case, allow_pickle=True) as archive:
        arrays = {key: archive[key] for key in archive.files}
    image, rows = arrays.pop("imgs"), []
    for dtype, factor in TYPES.items():
        path = case.with_name(f"{np.dtype(dtype).name}.npz")
        # Neither Hounsfield units nor grey values: percentiles are looked for.
        volume = image.astype(dtype) * np.dtype(dtype).type(factor)
        np.savez_compressed(path, imgs=volume, **arrays)
        wanted = (uint8_mb or 0.0) + volume.nbytes / MB
        size = sides_text(volume.shape)
        del volume
        (row,) = measured(f"{np.dtype(dtype).name} on {size}", path, weights)
        than = "uint8's peak and the stored volume"
        rows.append(replace(row, against=wanted, than=than, limit=LIMIT_RATIO))
        path.unlink()
    return rows


def long_rows(folder: Path, length: int, weights: Path) -> list[Row]:
    """A volume that is long along each axis in turn, and one voxel wide."""
    rows = []
    for axis in range(3):
        d, h, w = (length if each == axis else 1 for each in range(3))
        path = folder / f"long{axis}.npz"
        prompt = {"1": "liver in CT", "instance_label": 0}
        image = np.random.default_rng(SEED).integers(0, 256, (d, h, w), np.uint8)
        np.savez(path, imgs=image, spacing=np.ones(3), text_prompts=np.array(prompt, object))
        rows += measured(f"{d}x{h}x{w} voxels", path, weights, LIMIT_LONG_MB)
    return rows


def run_case(case: Path, weights: Path) -> dict[str, object]:
    """Run one case from file to file with a made-up network; in the process that is measured."""
    from benchmarks.fakes import Balls, covering, fake_model
    from vesal.inference.runner.run import run
    from vesal.inference.runner.settings import Settings

    profile = covering(weights)
    report = case.with_suffix(".report")
    settings = Settings(case, case.parent / "outputs", report=report, seconds=3600.0, verbosity=-1)
    started = time.monotonic()
    run(settings, lambda _: fake_model(profile, Balls(radius=0.08)))
    told = json.loads(report.read_text(encoding="utf-8"))["cases"][0]
    return {
        "peak_mb": peak_mb(),
        "seconds": time.monotonic() - started,
        "state": told["state"],
        "error": told["error"] or "; ".join(told["fallbacks"]),
        "views": len(told["stages"]),
        "windows": sum(stage["windows"] for stage in told["stages"]),
    }


def network_row(weights: Path) -> Row:
    """Peak of the true network on one window of the coarse stage with all queries of a pass."""
    code = (
        "import sys; from pathlib import Path; from benchmarks.memory import run_network, peak_mb; "
        "run_network(Path(sys.argv[1])); print(peak_mb())"
    )
    command = [sys.executable, "-c", code, str(weights)]
    result = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    note = "runtime, graph and its activations; to be added to the rows above at most"
    return Row("peak resident, the true network on one window", float(result.split()[-1]), "MB", note=note)


def run_network(weights: Path) -> None:
    """One coarse window of the real weights."""
    from vesal.inference.data.terms import COARSE
    from vesal.inference.families.contract import Window
    from vesal.inference.families.nano import NanoModel, NanoPrompts
    from vesal.inference.planning.profile import read_profile
    from vesal.inference.runtime.choice import choose_runtime

    profile = read_profile(weights)
    model = NanoModel.open(profile, choose_runtime())
    rule = profile.stage(COARSE)
    side = round(rule.window_voxels ** (1 / 3) / 16) * 16
    with np.load(profile.bank_path()) as archive:
        text = archive["vectors"][: rule.max_queries].astype(np.float32)
    zeros = np.zeros(len(text), np.int64)
    window = model.encode(Window(np.zeros((2, side, side, side), np.float32), degree=0))
    model.decode(window, NanoPrompts(text, zeros, zeros), None, None)


def sentences(count: int, weights: Path) -> dict[str, str]:
    """Prompts for so many different concepts of the bank, each one that the parser reads as itself."""
    from vesal.inference.prompts.parser import parse_prompts

    with np.load(weights / "bank.npz") as archive:
        names = archive["names"].tolist()
    texts = {number: f"{name} in CT" for number, name in enumerate(names, 1)}
    blank = np.zeros((1, 1, 1), np.uint8)
    parsed, _ = parse_prompts(texts, name="CT_made", image=blank)
    known = [p.text for p in parsed if p.concept == names[p.id - 1]]
    if len(known) < count:
        raise ValueError(f"the bank gives {len(known)} prompts, {count} are wanted; ask for fewer")
    return {str(number): text for number, text in enumerate(known[:count], 1)}


def write_case(path: Path, shape: tuple[int, int, int], prompts: dict[str, str], instance: bool) -> None:
    """A body of noise in air, in challenge format."""
    rng = np.random.default_rng(SEED)
    d, h, w = shape
    rows, columns = np.ogrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    body = (rows**2 / 0.6 + columns**2 / 0.8) < 1
    image = np.empty((d, h, w), np.uint8)
    for plane in image:
        plane[:] = rng.integers(60, 180, (h, w), np.uint8) * body
    content = np.array({**prompts, "instance_label": int(instance)}, dtype=object)
    np.savez_compressed(path, imgs=image, spacing=np.array([0.8, 0.8, 1.0]), text_prompts=content)


if __name__ == "__main__":
    sys.exit(main())
