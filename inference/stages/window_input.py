"""What the network gets of one window: cut out of the view with its context, thick axis first."""

from __future__ import annotations

import numpy as np

from vesal.inference.families.contract import UserInput, Window
from vesal.inference.geometry.views import View
from vesal.inference.stages.packed_probability import Probabilities
from vesal.inference.stages.sampled_slices import SampledSlices
from vesal.inference.stages.sliding_window import Slices


def window_of(image: np.ndarray | SampledSlices, view: View, at: Slices) -> Window:
    """A window of a view's image (C, D, H, W), with the context that its tiling asks for."""
    halo = view.tiling.halo
    # Slices that are sampled one by one are taken first, as few as are needed.
    for axis in sorted(range(3), key=lambda a: (a != view.thick_axis, a)):
        context = halo[axis]
        if context:
            places = np.arange(at[1 + axis].start - context, at[1 + axis].stop + context)
            image = image.take(_inside(places, view.shape[axis], view.tiling.border), 1 + axis)
        else:
            parts = [slice(None)] * 4
            parts[1 + axis] = at[1 + axis]
            image = image[parts[0], parts[1], parts[2], parts[3]]
    assert isinstance(image, np.ndarray)
    run, length = at[1 + view.thick_axis], view.shape[view.thick_axis]
    first = run.start
    if view.step[view.thick_axis] == 1.0:
        first += round(view.start[view.thick_axis])
    thick = thick_first(image, view.thick_axis)
    behind = max(0, length - run.stop)
    corner = at[1].start, at[2].start, at[3].start
    return Window(
        thick,
        view.degree,
        halo[view.thick_axis],
        first=first,
        before=run.start,
        behind=behind,
        view=view,
        corner=corner,
    )


def _inside(places: np.ndarray, length: int, border: str) -> np.ndarray:
    """Indices (n,) along an axis of ``length`` voxels, where those beyond it repeat or mirror the border."""
    if border == "reflect" and length > 1:
        period = 2 * (length - 1)
        places = np.abs((places + length - 1) % period - (length - 1))
    clipped: np.ndarray = places.clip(0, length - 1)
    return clipped


def spatial_of(prompt: Probabilities | None, view: View, at: Slices) -> np.ndarray | None:
    """A window's part of the spatial prompts (N, D, H, W) on a view: thick axis first, or None."""
    return None if prompt is None else thick_first(np.asarray(prompt[at]), view.thick_axis)


def thick_first(values: np.ndarray, thick: int) -> np.ndarray:
    """(C, D, H, W) with the thick axis moved to the front, C-contiguous."""
    return np.ascontiguousarray(np.moveaxis(values, 1 + thick, 1))


def user_input_of(user: UserInput | None, view: View, at: Slices) -> UserInput | None:
    """Boxes and points in voxels of a view as those of a window, its context included, thick axis first."""
    if user is None:
        return None
    corner = np.array([at[1 + a].start - view.tiling.halo[a] for a in range(3)], np.float64)
    order = [view.thick_axis, *(a for a in range(3) if a != view.thick_axis)]
    boxes = tuple((each - corner)[..., order] for each in user.boxes)
    points = tuple(np.column_stack([(each[:, :3] - corner)[:, order], each[:, 3]]) for each in user.points)
    return UserInput(boxes, points)
