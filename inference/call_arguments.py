"""Arguments of a call from Python, checked: each error says what came and what is wanted."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.case import Case, StoredNumbers
from vesal.inference.data.errors import (
    EmptyVolumeError,
    InstanceLabelError,
    IntensityError,
    MaskTypeError,
    ModalityError,
    PromptError,
    SpacingError,
    UsageError,
    VolumeShapeError,
    shown,
)
from vesal.inference.data.terms import MASK_STAGES
from vesal.inference.data.user_prompts import UserMask, UserPrompts
from vesal.inference.geometry.views import Triple, triple
from vesal.inference.io.intensity import prepare
from vesal.inference.io.prompt_files import Prompts, parse_prompts_dict
from vesal.inference.io.prompt_values import INSTANCE_KEY, MODALITY_KEY, is_key, parse_id
from vesal.inference.io.user_boxes import NOTATION as BOXES
from vesal.inference.io.user_boxes import parse_boxes
from vesal.inference.io.user_mask import check_mask_header, make_mask, mask_ids
from vesal.inference.io.user_points import NOTATION as POINTS
from vesal.inference.io.user_points import parse_points
from vesal.inference.io.user_values import Problems, told
from vesal.inference.prompts.modality import modality_of

NAME = "image"
"""Name of a volume without a file, in messages."""
NO_LIMIT = float("inf")
WANTED_BOXES = "whole numbers, boxes={id: [(d0, h0, w0, d1, h1, w1), ...]}, the last three exclusive"
WANTED_POINTS = "whole numbers, points={id: [(d, h, w, label), ...]}, with label 1 inside and 0 outside"
MAX_DEPTH = 5
"""Of lists within lists of boxes and points: prompts, `fg` or `bg`, points, voxels, and one to spare."""
MIN_LENGTH_MM, MAX_LENGTH_MM = 1e-6, 1e6
"""Of a voxel: from a nanometre to a kilometre."""


def weights_name(weights: str | os.PathLike[str]) -> str:
    """Name or path of weights as text. Raises UsageError."""
    if isinstance(weights, os.PathLike):
        weights = str(Path(weights).absolute())  # a path stays one, even without a slash in it
    if not isinstance(weights, str) or not weights or "\0" in weights:
        raise UsageError(f"weights is {shown(weights)}; a name of weights or a path of a folder is wanted.")
    return weights


def thread_count(threads: Any) -> int | None:
    """A limit of threads, 1 or more, or None. Raises UsageError."""
    if threads is None:
        return None
    try:
        count = operator.index(threads)
    except TypeError:
        count = 0
    if count < 1 or isinstance(threads, bool):
        raise UsageError(f"threads is {shown(threads)}; a whole number from 1 on, or None, is wanted.")
    return count


def choice_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise UsageError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{name} is {shown(value)}; one of {', '.join(choices)} is wanted.")


def check_mask_stage(stage: Any) -> None:
    """Raise UsageError unless ``stage`` is None or one of `terms.MASK_STAGES`."""
    if stage is not None:
        choice_of("mask_stage", stage, MASK_STAGES)


def time_limit(seconds: Any) -> float:
    """Seconds above 0, or infinity for None. Raises UsageError."""
    if seconds is None:
        return NO_LIMIT
    try:
        limit = 0.0 if isinstance(seconds, (str, bytes)) else float(seconds)
    except (TypeError, ValueError, OverflowError):
        limit = 0.0
    if not limit > 0:
        raise UsageError(f"seconds is {shown(seconds)}; a number above 0, or None, is wanted.")
    return limit


def check_progress(progress: Any) -> None:
    """Raise UsageError unless it can be called, or is None."""
    if progress is not None and not callable(progress):
        raise UsageError(f"progress is {shown(progress)}; a function of one argument, or None, is wanted.")


def named_modality(modality: Any) -> str | None:
    """A modality under our name, or None. Raises ModalityError."""
    if modality is not None and not isinstance(modality, str):
        raise ModalityError(f"modality is {shown(modality)}; a word such as CT, or None, is wanted.")
    return None if modality is None else modality_of(modality)


def checked_prompts(prompts: Any, instances: Any = None) -> Prompts:
    """Prompts of a call, see `Model.segment`. Raises PromptError."""
    content = _numbered(prompts) | _instance_label(prompts, instances)
    return parse_prompts_dict(content, "prompts", strict=True)


def make_case(
    image: Any,
    spacing_mm: Any,
    prompts: Any,
    instances: Any = None,
    *,
    mask: Any = None,
    boxes: Any = None,
    points: Any = None,
    fallbacks: list[str] | None = None,
) -> Case:
    """A checked case of a volume in memory, see `Model.segment`.

    Boxes and points that are some, and do not fit the volume or the prompts, are left out: ``fallbacks`` gets
    a sentence for each. Raises CaseError.
    """
    volume = _volume(image)
    boxes, points = _plain(boxes), _plain(points)
    checked = _prompts(prompts, instances, lambda: _marked_ids(mask, boxes, points, volume.shape))
    spacing = _spacing(spacing_mm)
    grey, image_notes, hounsfield = prepare(NAME, volume)
    stored = None if grey is volume else StoredNumbers(volume, image_notes, hounsfield)
    ids, shape = checked.sentences.keys(), volume.shape
    misfits: dict[str, Problems] = {BOXES.kind: [], POINTS.kind: []}
    if not any(checked.sentences.values()):
        boxes = BOXES.by_class(boxes, "boxes", misfits[BOXES.kind])
        points = POINTS.by_class(points, "points", misfits[POINTS.kind])
    found, notes = parse_boxes(boxes, ids, shape, "boxes", misfits[BOXES.kind], WANTED_BOXES)
    moved: list[str] = []
    clicked = parse_points(points, ids, shape, "points", misfits[POINTS.kind], moved, WANTED_POINTS)
    user = UserPrompts(_mask(mask, ids, shape, checked.instance), found, clicked)
    for kind, problems in misfits.items():
        _raise_malformed(problems)
        if fallbacks is not None:
            fallbacks += told(problems, kind, bool(user.ids(kind)))
    return Case(
        NAME,
        np.ascontiguousarray(grey),
        spacing,
        checked.sentences,
        checked.instance,
        None,
        (*image_notes, *checked.notes, *notes, *moved),
        user,
        checked.modality,
        stored,
    )


def _raise_malformed(problems: Problems) -> None:
    """Raise what has no form of boxes or points: who calls can correct it."""
    for problem in problems:
        if problem.malformed:
            raise problem


def goes_by_id(prompts: Any) -> bool:
    """Whether results are found by id: for a dict of prompts, and where there are none."""
    return prompts is None or isinstance(prompts, Mapping) or len(prompts) == 0


def _marked_ids(mask: Any, boxes: Any, points: Any, shape: tuple[int, ...]) -> list[int]:
    """Ids that have a mask, boxes or points, as classes without a name.

    Numbers that no prompt can have are left to who reads the boxes and points, where there is any other id.
    Raises UserPromptError.
    """
    problems: Problems = []
    ids = {*BOXES.by_class(boxes, "boxes", problems), *POINTS.by_class(points, "points", problems)}
    _raise_malformed(problems)
    if mask is not None:
        ids |= {*mask_ids(_mask_values(mask, shape), "mask")}
    if problems and not ids:
        raise problems[0]
    return sorted(ids)


def _without_sentence(key: Any, text: Any) -> bool:
    return not _is_setting(key) and (text is None or (isinstance(text, str) and not text.strip()))


def _is_setting(key: Any) -> bool:
    return is_key(key, INSTANCE_KEY) or is_key(key, MODALITY_KEY)


def _prompts(prompts: Any, instances: Any, marked: Callable[[], list[int]]) -> Prompts:
    """Checked prompts; those without a sentence are unnamed, if they are ``marked``. Raises PromptError."""
    asked = {} if prompts is None else _numbered(prompts)
    settings = _instance_label(prompts, instances)
    silent = {key for key, text in asked.items() if _without_sentence(key, text)}
    alone = all(key in silent or _is_setting(key) for key in asked)
    ids = marked() if silent or alone else []
    if alone and ids:
        plain = {key: text for key, text in asked.items() if _is_setting(key)}
        checked = parse_prompts_dict({**plain, **settings, 1: "-"}, "prompts", strict=True)
        return replace(checked, sentences=dict.fromkeys(ids, ""))
    if prompts is None:
        raise _no_prompts(prompts)
    unnamed = {key for key in silent if parse_id(key, "prompts") in ids}
    named = {key: text for key, text in asked.items() if key not in unnamed}
    checked = parse_prompts_dict(named | settings, "prompts", strict=True)
    order = [parse_id(key, "prompts") for key in asked if not _is_setting(key)]
    return replace(checked, sentences={id_: checked.sentences.get(id_, "") for id_ in order})


def _mask(mask: Any, ids: Collection[int], shape: tuple[int, ...], instance: bool) -> UserMask | None:
    """A user's mask, checked; None for an empty one. Raises MaskError."""
    return None if mask is None else make_mask(_mask_values(mask, shape), ids, instance, "mask")


def _mask_values(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A mask as an array of the volume's shape. Raises MaskError."""
    try:
        values = np.asarray(mask)
    except Exception as error:  # whatever an array-like of another library raises
        raise MaskTypeError(
            f"mask cannot be taken as an array ({error}); a numpy array of prompt ids is wanted."
        ) from error
    check_mask_header("mask", values.shape, values.dtype, shape)
    return values


def _plain(values: Any, depth: int = MAX_DEPTH) -> Any:
    """Dicts, lists and numbers of Python of mappings, arrays and sequences; anything else as it is."""
    if hasattr(values, "tolist"):
        return values.tolist()
    if depth and isinstance(values, Mapping):
        return {_plain(key, 0): _plain(value, depth - 1) for key, value in values.items()}
    if depth and isinstance(values, (list, tuple)):
        return [_plain(value, depth - 1) for value in values]
    return values


def _numbered(prompts: Any) -> dict[Any, Any]:
    """Prompts as a dict: a list gets ids from 1 on."""
    if isinstance(prompts, Mapping):
        return {int(k) if isinstance(k, np.integer) else k: v for k, v in prompts.items()}
    if isinstance(prompts, np.ndarray):
        prompts = prompts.tolist()
    if isinstance(prompts, str):
        return {1: prompts}
    if not isinstance(prompts, Iterable) or isinstance(prompts, (bytes, set, frozenset)):
        raise _no_prompts(prompts)
    return dict(enumerate(prompts, 1))


def _no_prompts(prompts: Any) -> PromptError:
    return PromptError(
        f"prompts is {shown(prompts)}; a list of sentences in their order, or a dict of id -> sentence, "
        "is wanted; or none, with a mask, boxes or points."
    )


def _instance_label(prompts: Any, instances: Any) -> dict[str, Any]:
    """Whether objects are wanted, as the key of a dict of prompts: the argument's word, else the dict's."""
    if instances is not None and not (isinstance(instances, (bool, np.bool_)) or instances in (0, 1)):
        raise InstanceLabelError(f"instances is {shown(instances)}; True, False or None is wanted.")
    keys = [key for key in prompts if is_key(key, INSTANCE_KEY)] if isinstance(prompts, Mapping) else []
    if instances is None:
        return {} if keys else {INSTANCE_KEY: 0}
    if keys and str(prompts[keys[0]]) != str(int(instances)):
        raise InstanceLabelError(
            f"instances is {instances}, but {INSTANCE_KEY} of the prompts is {shown(prompts[keys[0]])}; "
            "give one of them."
        )
    return {INSTANCE_KEY: int(instances)}


def _volume(image: Any) -> np.ndarray:
    """A volume (D, H, W) of real numbers."""
    if isinstance(image, np.ma.MaskedArray):
        raise IntensityError("image is a masked array; give image.filled(VALUE) with a value for the masked.")
    try:
        volume = np.asarray(image)
    except Exception as error:  # whatever an array-like of another library raises
        raise IntensityError(
            f"image cannot be taken as an array ({error}); a numpy array is wanted."
        ) from error
    if volume.dtype.kind not in "buif":
        raise IntensityError(f"image has dtype {volume.dtype}; real numbers are wanted, best uint8.")
    if volume.ndim != 3:
        raise VolumeShapeError(
            f"image has {volume.ndim} axes, shape {volume.shape}; three, (D, H, W), are wanted. Give one "
            "grey volume, without channel or time axis."
        )
    if volume.size == 0:
        raise EmptyVolumeError(f"image has shape {volume.shape}, so no voxel; 1 or more are wanted.")
    if volume.dtype.kind == "f" and volume.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # what float64 cannot hold becomes infinite, and is refused as such
            return volume.astype(np.float64)
    return volume


def _spacing(spacing_mm: Any) -> Triple:
    wanted = "three positive lengths in mm, ordered like the array (D, H, W), are wanted."
    try:
        if isinstance(spacing_mm, (str, bytes, set, frozenset, Mapping)):
            raise TypeError
        d, h, w = triple(float(length) for length in spacing_mm)
    except (TypeError, ValueError, OverflowError):
        raise SpacingError(f"spacing_mm is {shown(spacing_mm)}; {wanted}") from None
    if not all(MIN_LENGTH_MM <= length <= MAX_LENGTH_MM for length in (d, h, w)):
        raise SpacingError(f"spacing_mm is ({d:g}, {h:g}, {w:g}); {wanted}")
    return d, h, w
