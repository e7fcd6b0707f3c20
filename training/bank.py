"""Text vectors of the targets: MiniLM, centred and whitened over the vocabulary.

Raw sentence embeddings of sibling targets are almost one vector (left and right kidney: cosine 0.93), and
training then fails to tell them apart for a long time. So the side is an input of its own, names are embedded
without it, and the vectors are centred and whitened over all names of the vocabulary (``TEXT`` components,
length ``sqrt(TEXT)``).

With as many components as there are names but one, whitening puts every name as far from every other: the
vectors tell names apart and say nothing of what is alike. So weights know the names that they were trained
on, and whitening over another vocabulary turns all vectors. A run that begins from weights therefore keeps
their vectors, and whitens what they do not know as these were (``is_bank_of``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vesal.networks.nano import TEXT

BANK = "bank.npz"
TEXT_WEIGHTS = Path(__file__).parent.parent / "weights" / "text"
FLOOR = 1e-3
"""Share of the largest variance below which a direction is the encoder's rounding and not blown up."""


def whiten(vectors: np.ndarray, components: int, over: np.ndarray | None = None) -> np.ndarray:
    """(N, E) -> (N, components): centred, axes at unit variance, rows of length sqrt(components).

    ``over`` (M, E): vectors that give centre and axes, where these are not ``vectors`` themselves.
    """
    over = vectors if over is None else over
    middle = over.mean(0)
    _, spread, axes = np.linalg.svd(over - middle, full_matrices=False)
    scale = np.maximum(spread[:components], FLOOR * spread[0])
    out, placed = ((v - middle) @ axes[:components].T / scale for v in (vectors, over))
    # The sign of a principal axis is arbitrary; fix it, so that every machine gives the same bank.
    out = out * np.sign(placed[np.abs(placed).argmax(0), np.arange(components)])
    return out / np.linalg.norm(out, axis=1, keepdims=True) * np.sqrt(components)


def concept_vectors(
    names: Sequence[str],
    encode: Callable[[Sequence[str]], np.ndarray],
    known: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Text vector (TEXT,) float32 of every concept name; ``encode`` gives (N, E) float32.

    Names in ``known``, a bank, keep its vectors; the others are whitened over its names instead of their own.
    """
    known = known or {}
    over = sorted(known) or list(names)
    if len(over) <= TEXT:
        raise ValueError(f"{len(over)} names; whitening to {TEXT} components needs more")
    found = {name: known[name] for name in names if name in known}
    if new := [name for name in names if name not in known]:
        texts, others = (encode(each).astype(np.float64) for each in (new, over))
        found |= zip(new, whiten(texts, TEXT, others).astype(np.float32), strict=True)
    return {name: found[name] for name in names}


def build_bank(folder: Path, start: Path | None = None, carried: Path | None = None) -> dict[str, np.ndarray]:
    """The bank of the whole vocabulary; kept in ``folder``, where a resumed run finds it again.

    ``start``: weights that the run begins from. ``carried``: a bank that was made elsewhere, if it is there.
    """
    path = folder / BANK
    if not path.exists() and carried is not None and carried.exists():
        path.write_bytes(carried.read_bytes())
    if not path.exists():
        # Imported here: where a bank was brought along, nothing encodes.
        from vesal.inference.prompts.sentence_encoder import SentenceEncoder
        from vesal.inference.prompts.vocabulary import load_vocabulary
        from vesal.weights.text.export import OrtRuntime

        encoder = SentenceEncoder(TEXT_WEIGHTS, OrtRuntime())
        names = sorted(load_vocabulary().concepts)
        bank = concept_vectors(names, encoder.encode, read_bank(start / BANK) if start else None)
        np.savez(path, names=np.array(names), vectors=np.stack([bank[n] for n in names]).astype(np.float16))
    return read_bank(path)


def is_bank_of(folder: Path, bank: dict[str, np.ndarray]) -> bool:
    """Whether the weights in ``folder`` were trained with these vectors (TEXT,); ``bank`` may have more."""
    theirs = read_bank(folder / "bank.npz")
    return theirs.keys() <= bank.keys() and all(np.allclose(theirs[n], bank[n], atol=0.05) for n in theirs)


def read_bank(path: Path) -> dict[str, np.ndarray]:
    """Concept name -> (TEXT,) float32."""
    with np.load(path) as archive:
        return dict(zip(archive["names"].tolist(), archive["vectors"].astype(np.float32), strict=True))
