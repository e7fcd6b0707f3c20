"""``python -m vesal.training.tokenizer --data DIR --hours H --output DIR``: train the visual tokenizer.

It trains on ``DIR/train``, labels unused, and ends within H hours with what it reconstructs of ``DIR/val``:
``report.md`` (PSNR by set and degree of anisotropy), ``report.json``, ``psnr.png``, ``reconstructions.png``.
The same command goes on from its checkpoint. ``--report DIR`` prints the table of a run that has ended, and
``--docs FILE`` puts it between the marks of that page and the pictures where it shows them.
"""

from __future__ import annotations

import argparse
import logging
import math
import re
import shutil
import time
from pathlib import Path

import torch

from vesal.inference.data.errors import VesalError
from vesal.inference.runtime.machine import available_threads
from vesal.inference.timing.clock import process_start_monotonic
from vesal.networks.spad_vt import VtSizes
from vesal.training.measure.results import read_json, write_json
from vesal.training.shelf import files, fill, read
from vesal.training.store import find_volumes, learnt, read_rules, without_patients
from vesal.training.tokenizer.crops import CropSource
from vesal.training.tokenizer.learn import TokenizerPlan, TokenizerTrainer, train
from vesal.training.tokenizer.report import (
    content_of,
    measure,
    plot_psnr,
    plot_reconstructions,
    table,
)

REPORT, PICTURES = "report.json", ("psnr.png", "reconstructions.png")
MEASURED = Path(__file__).parent.parent / "measured" / "spad-vt"
"""Where the page's pictures lie."""
BLOCK = re.compile(r"(<!-- table: tokenizer -->\n).*?(<!-- end: tokenizer -->)", re.DOTALL)
ENDING_S, CASE_S, LEAVE_S = 40.0, 4.0, 30.0
"""Kept of the hours for the report, and for each of its cases: two to three times what one thread took; and
where a busy machine takes longer, what is left for tables and pictures when the last case begins."""


def main() -> None:
    """Parse the command line and run."""
    started = process_start_monotonic()
    parser = argparse.ArgumentParser(prog="python -m vesal.training.tokenizer", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with train/DATASET/*.npz and val/DATASET/*.npz")
    parser.add_argument("--output", type=Path, help="checkpoint, log, tokenizer and report; resumed if there")
    parser.add_argument("--store", type=Path, help="unpacked volumes; default: OUTPUT/store")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, help="wall time of the whole command")
    length.add_argument("--steps", type=int, help="length in steps instead, whatever time they take")
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=TokenizerPlan.rate, help="peak learning rate")
    parser.add_argument("--widths", type=int, nargs=3, default=VtSizes.widths, metavar="CHANNELS")
    parser.add_argument("--codebook", type=int, default=VtSizes.codebook, help="number of tokens")
    parser.add_argument(
        "--adversary",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of the run, from which on a discriminator takes part (VQGAN); default: never",
    )
    parser.add_argument("--cases", type=int, default=5, help="cases of each set of val that are looked at")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="print the table of a run; nothing is trained"
    )
    parser.add_argument("--docs", type=Path, help="with --report: page whose table is renewed")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        if args.report:
            show(args.report, args.docs)
        elif args.data and args.output and (args.hours or args.steps):
            run(args, started)
        else:
            parser.error("give --data, --output and --hours or --steps, or --report alone")
    except (VesalError, ValueError, FileNotFoundError) as error:
        parser.error(str(error))


def run(args: argparse.Namespace, started: float) -> None:
    """Train and report. Raises ValueError where the hours leave no time to learn."""
    torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    rules = read_rules()
    val = find_volumes(args.data / "val", rules, args.cases)
    paths = without_patients(
        find_volumes(args.data / "train", learnt(rules)), (args.data / "val").glob("*/*.npz")
    )
    store = args.store or args.output / "store"
    fill(store, files(paths))
    volumes = read(store, learnt(rules))
    plan = TokenizerPlan(
        hours=args.hours or 0.0,
        steps=args.steps or 0,
        ending_s=ENDING_S + CASE_S * len(val),
        seed=args.seed,
        sizes=VtSizes(widths=tuple(args.widths), codebook=args.codebook),
        rate=args.rate,
        adversary_from=args.adversary,
    )
    prepared_s = time.monotonic() - started
    trainer = TokenizerTrainer(plan, args.output, prepared_s)
    if plan.hours and not trainer.step and prepared_s >= plan.limit_s:
        raise ValueError(
            f"--hours {plan.hours:g} is {plan.hours * 3600:.0f} s. Preparing took {prepared_s:.0f} s, which "
            f"is less the next time; the report needs {plan.ending_s:.0f} s. Give more, or fewer --cases."
        )
    logging.info("%d volumes, %d cases to look at, from step %d", len(volumes), len(val), trainer.step)
    train(trainer, CropSource(volumes, learnt(rules), plan.seed))
    model = trainer.finish()
    about = {
        "steps": trainer.step,
        "seconds": trainer.spent_s,
        "threads": args.threads,
        "processor": processor(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "codebook": model.sizes.codebook,
    }
    until_s = started + plan.hours * 3600 - LEAVE_S if plan.hours else math.inf
    seen, pictures = measure(model, val, until_s)
    write_json(args.output / REPORT, content_of(seen, about))
    plot_reconstructions(pictures, args.output / PICTURES[1])
    show(args.output, None)


def show(folder: Path, docs: Path | None) -> None:
    """Print the table of a run, write it to ``report.md`` and the page. Raises ResultsError, ValueError."""
    content = read_json(folder / REPORT)
    markdown = table(content)
    plot_psnr(content, folder / PICTURES[0])
    (folder / "report.md").write_text(markdown + "\n", encoding="utf-8")
    print(markdown)
    if docs is None:
        return
    page = docs.read_text(encoding="utf-8")
    if not BLOCK.search(page):
        raise ValueError(f"{docs} has no `<!-- table: tokenizer -->` and `<!-- end: tokenizer -->`; add them")
    MEASURED.mkdir(parents=True, exist_ok=True)
    for name in (REPORT, *PICTURES):
        shutil.copyfile(folder / name, MEASURED / name)
    shown = "\n".join(f"![{Path(name).stem}](../training/measured/spad-vt/{name})\n" for name in PICTURES)
    docs.write_text(BLOCK.sub(lambda b: f"{b[1]}\n{markdown}\n\n{shown}\n{b[2]}", page), encoding="utf-8")


def processor() -> str:
    """The processor's name, as Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "an unknown processor"


if __name__ == "__main__":
    main()
