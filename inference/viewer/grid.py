"""The grid of the page: the case turned so that its indices grow towards S, A and R, as NiiVue counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.orientation import CANONICAL, AxisCodes, Orientation, towards
from vesal.inference.data.user_prompts import UserPrompts
from vesal.inference.geometry.views import Sides, Triple
from vesal.inference.io.nifti_bytes import nifti_bytes

SHOWN: AxisCodes = ("S", "A", "R")


@dataclass(frozen=True)
class PageGrid:
    """How a case is turned for the page."""

    way: Orientation
    """From the case's axes to the page's."""
    shape: Sides
    """(D,H,W) on the page."""
    spacing_dhw_mm: Triple
    """Of D, H, W on the page."""
    file_way: Orientation
    """From the file's axes to the page's."""
    known: bool
    """Whether the file says how it lies; else it is shown as a canonical one, without letters."""

    @classmethod
    def of(cls, case: Case, file_codes: AxisCodes | None = None) -> PageGrid:
        """The grid of a case; ``file_codes`` are those of its file, where they are others than the case's."""
        way = towards(case.axis_codes or CANONICAL, SHOWN)
        file_way = towards(file_codes, SHOWN) if file_codes else way
        shape, spacing = way.axes(case.image.shape), way.axes(case.spacing_dhw_mm)
        return cls(way, shape, spacing, file_way, case.axis_codes is not None)

    def nifti(self, volume: np.ndarray) -> bytes:
        """A volume (D, H, W) on the case's grid as a file for the page."""
        return nifti_bytes(self.way.turn(volume), self.spacing_dhw_mm)

    def voxel_on_page(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """(D,H,W) of a voxel of the case, on the page."""
        d, h, w = (
            self.shape[axis] - 1 - at if axis in self.way.reversed else at
            for axis, at in enumerate(self.way.axes(voxel))
        )
        return d, h, w

    def user_in_case(self, user: UserPrompts) -> UserPrompts:
        """Boxes and points on the page as boxes and points of the case."""
        back = [int(axis) for axis in np.argsort(self.way.order)]
        return user.reversed(self.shape, self.way.reversed).transposed(back)
