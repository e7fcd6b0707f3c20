"""The command line of a training."""

from __future__ import annotations

import argparse
from pathlib import Path

from vesal.training.device import NAMES
from vesal.training.plan import Plan
from vesal.training.sizes import SIZES


def make_parser(about: str | None) -> argparse.ArgumentParser:
    """Of ``python -m vesal.training``."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training", description=about)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with train/DATASET/*.npz; without it, what --store holds is trained on",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights to write")
    parser.add_argument(
        "--work", type=Path, default=Path(".training"), help="checkpoints and log; resumed if there"
    )
    parser.add_argument("--store", type=Path, help="unpacked volumes; default: WORK/store")
    _add_length(parser)
    _add_machine(parser)
    _add_network(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="peak learning rate")
    parser.add_argument("--without", nargs="+", default=[], metavar="IDEA", help="see training/ideas.py")
    sets = parser.add_mutually_exclusive_group()
    sets.add_argument("--only", nargs="+", metavar="SET", help="train on these sets alone")
    sets.add_argument("--leave-out", nargs="+", default=[], metavar="SET", help="train on all sets but these")
    parser.add_argument(
        "--patients", type=int, metavar="N", help="train on at most so many patients of a set; default: all"
    )
    parser.add_argument(
        "--looks", type=int, default=3, help="validation cases of a set; 0: none are looked at"
    )
    return parser


def _add_length(parser: argparse.ArgumentParser) -> None:
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, help="wall time of the whole command; default: 1.25")
    length.add_argument("--steps", type=int, help="length in steps instead, whatever time they take")
    parser.add_argument(
        "--minutes",
        type=float,
        help="end this command after so long, with a checkpoint from which the same command goes on "
        "(exit code 75), although the run is longer",
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=NAMES, default="cpu", help="what to compute on")
    parser.add_argument("--processes", type=int, help="default: one per core; on a GPU one")
    parser.add_argument("--loaders", type=int, help="threads that prepare views for a GPU; default: up to 4")
    parser.add_argument(
        "--pairs", type=int, help="coarse and fine views of a process in one step; default: by the device"
    )


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start", type=Path, help="folder of exported weights to begin from; narrower ones are widened"
    )
    parser.add_argument(
        "--backbone",
        type=Path,
        help="folder of a pre-trained encoder to begin from; with a SPAD-ViT in it the network is on that",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="take the kind of network of --backbone and nothing that it learnt: what to compare it with",
    )
    parser.add_argument(
        "--size", choices=SIZES, default="nano", help="channels, blocks and views, see training/sizes.py"
    )
    parser.add_argument(
        "--widths",
        type=int,
        nargs=4,
        metavar="CHANNELS",
        help="of the network's four levels; default: by size",
    )
