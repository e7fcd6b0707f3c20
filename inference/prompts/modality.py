"""How a volume was taken: from the sentences, else from a name, its numbers, or at last its intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from vesal.inference.data.errors import ModalityError, shown
from vesal.inference.data.prompt import ModalityChoice
from vesal.inference.data.terms import MODALITIES
from vesal.inference.prompts.term_search import split_words
from vesal.inference.prompts.vocabulary import MODALITY_PRECEDENCE, Vocabulary, load_vocabulary

GUESSED = "image statistics"
"""Source of a modality that nothing says: it excludes nothing (`planning.plan`)."""


def sentence_modality(sentence: str, vocabulary: Vocabulary) -> str | None:
    """The modality a sentence carries, or None.

    Several: the first of Microscopy, PET, US, MR, CT (PET-CT is read as PET, ultrasound fused with MR as US).
    Words that several modalities share (`cross-sectional`) count only where nothing else does.
    """
    raw = split_words(sentence)
    spans = vocabulary.find_modalities(raw, tuple(map(vocabulary.stem, raw)))
    strong = {modality for modality, weak in (span.value for span in spans) if not weak}
    found = strong or {span.value[0] for span in spans}
    return min(found, key=MODALITY_PRECEDENCE.index) if found else None


def modality_of(word: str) -> str:
    """The modality that a caller names: `CT`, or any usual word for one (`MRI`). Raises ModalityError."""
    plain = {modality.lower(): modality for modality in MODALITIES}.get(word.strip().lower())
    found = plain or sentence_modality(word, load_vocabulary())
    if found is None:
        raise ModalityError(f"modality is {shown(word)}; one of {', '.join(MODALITIES)} is wanted.")
    return found


def choose_modality(
    found: Iterable[str | None],
    name: str,
    image: np.ndarray,
    vocabulary: Vocabulary,
    dataset: str | None = None,
    *,
    given: str | None = None,
    given_by: str | None = None,
    hounsfield: bool = False,
) -> ModalityChoice:
    """Modality of a case from those of its sentences, in their order (None where a sentence carries none).

    `name` is the file's stem, `image` (D,H,W) uint8, `dataset` the key that its prompts were taken from, if
    any, `given` the word that they give for it beside the sentences, or that the case's file gives, which
    `given_by` then names; `hounsfield` says that the numbers of
    the volume were Hounsfield units.
    """
    said = sentence_modality(given, vocabulary) if given else None
    if said and given_by:
        return ModalityChoice(said, "file", f"{given_by} is {shown(given)}")
    if said:
        return ModalityChoice(said, "prompts", f"the prompts' key 'modality' is {shown(given)}")
    counts = Counter(modality for modality in found if modality)
    if counts:
        # Counter keeps the order of first sight, so ties go to the first.
        modality, votes = counts.most_common(1)[0]
        return ModalityChoice(
            modality, "prompts", f"{votes} of {counts.total()} prompts with a modality say {modality}"
        )
    for source, word in (("file name", name), ("dataset", dataset or "")):
        named = name_modality(word, vocabulary)
        if named:
            return ModalityChoice(named, source, f"no prompt carries a modality; the {source} {word!r} does")
    if hounsfield:
        return ModalityChoice(
            "CT",
            "numbers",
            "neither prompts nor file name carry a modality; the numbers are Hounsfield units",
        )
    modality, why = image_modality(image)
    return ModalityChoice(modality, GUESSED, f"neither prompts nor file name carry a modality; {why}")


def name_modality(name: str, vocabulary: Vocabulary) -> str | None:
    """Modality by the first part of a file's stem (`CT_`, `MR_`, `autoPET-`, `Microscopy_`), in any case."""
    words = split_words(name)
    return vocabulary.file_prefixes.get(words[0].lower()) if words else None


# A last resort. Right on 269 of 275 CT, 554 of 556 MR, 27 of 42 PET, 15 of 105 US and 0 of 8 microscopy
# volumes of the training and validation data and the example cases: it tells CT from MR and knows whole
# ultrasound fans.
SATURATED = 0.007
"""Share at 255 left where a fixed window was cut off; scaling to the 99.5th percentile leaves 0.005."""
AIR = 0.2
"""Share at 0 that the air around the body leaves in CT."""
DARK = 0.12
"""Share at 0 of a PET volume, where air is not quite dark."""
PET_MEDIAN = 25
"""Highest median above 0 of a PET volume: a few hot organs, all else dark."""
FAN = 0.3
"""Share at 0 that the outside of an ultrasound fan leaves."""
FAN_MEDIAN = 60
"""Highest median inside a fan; brains cut out of MR leave as many zeros but are brighter."""
SLICES_LOOKED_AT = 48


def image_modality(image: np.ndarray) -> tuple[str, str]:
    """Modality and reason from a (D,H,W) uint8 volume's histogram over evenly spaced slices.

    Never Microscopy, which looks like anything. MR where no rule speaks, and for an empty volume.
    """
    step = max(1, len(image) // SLICES_LOOKED_AT) if image.ndim else 1
    histogram = np.bincount(np.asarray(image)[::step].ravel().astype(np.uint8), minlength=256)
    total, bright = int(histogram.sum()), int(histogram[1:].sum())
    if not bright:
        return "MR", "the volume is empty, MR is assumed"
    zero, full = histogram[0] / total, histogram[255] / total
    median = 1 + int(np.searchsorted(np.cumsum(histogram[1:]), bright / 2))
    shown = f"{zero:.0%} at 0, {full:.1%} at 255, median {median} above 0"
    if zero >= AIR and full >= SATURATED:
        return "CT", f"air and a cut-off window look like CT ({shown})"
    if zero >= DARK and median <= PET_MEDIAN:
        return "PET", f"few bright spots on dark ground look like PET ({shown})"
    if zero >= FAN and median <= FAN_MEDIAN:
        return "US", f"a dark surround and a dim inside look like an ultrasound fan ({shown})"
    return "MR", f"no rule for CT, PET or US holds, MR is assumed ({shown})"
