"""The three planes of a target as figures: slice, contour, side letters and scale bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vesal.inference.output.page.markup import number, text_of
from vesal.inference.output.page.pictures import SlicePicture

MIN_ASPECT = 0.5
"""Thinner pictures get black margins, so that letters and scale bar have room."""
BAR_SHARE = 0.3
"""Of the picture's width that the scale bar has at most."""


def shared_slices_svg(slices: Mapping[str, SlicePicture], case_key: str) -> str:
    """Every slice of a case once, drawn by the figures that name it."""
    images = "".join(
        f'<image id="{case_key}-{key}" width="{part.size[1]}" height="{part.size[0]}" href="{part.uri}"/>'
        for key, part in slices.items()
    )
    return f'<svg class="shared" width="0" height="0" aria-hidden="true"><defs>{images}</defs></svg>'


def figures(
    slices: Mapping[str, SlicePicture], views: Sequence[tuple[str, str]], case_key: str, target: str
) -> str:
    """One figure for each plane.

    Args:
        slices: of the case.
        views: key of the slice and data URI of the contour, which may be empty.
        case_key: what the ids of the case's slices begin with.
        target: what the contour is of, as plain text; empty without contour.
    """
    return "".join(_figure(slices[key], contour, f"{case_key}-{key}", target) for key, contour in views)


def counted_towards(towards: str | None) -> str:
    """How slices are counted, where it is known."""
    return f", counted towards {towards}" if towards else ""


def _figure(part: SlicePicture, contour: str, href: str, target: str) -> str:
    name = part.plane.name if part.plane.letters else f"across axis {part.plane.name}"
    where = f"{name}, slice {part.index + 1} of {part.slices}"
    words = f"{where}{counted_towards(part.plane.towards)}" + (f"; contour of {target}" if target else "")
    height, width = part.size
    side = max(height, width)
    full_w, full_h = max(width, int(side * MIN_ASPECT)), max(height, int(side * MIN_ASPECT))
    x, y = (full_w - width) / 2, (full_h - height) / 2
    over = f'<image width="{width}" height="{height}" href="{contour}"/>' if contour else ""
    return (
        f'<figure><svg viewBox="0 0 {full_w} {full_h}" role="img" aria-label="{text_of(words)}">'
        f'<rect width="{full_w}" height="{full_h}"/>'
        f'<g transform="translate({x:g} {y:g})"><use href="#{href}"/>{over}</g>'
        f"{_letters(part, full_w, full_h)}{_scale_bar(part, full_w, full_h)}</svg>"
        f"<figcaption>{text_of(where)}</figcaption></figure>"
    )


def _letters(part: SlicePicture, width: int, height: int) -> str:
    """Directions in the patient at the picture's sides."""
    if part.plane.letters is None:
        return ""
    size = _letter_size(width, height)
    places = (
        (size * 0.6, height / 2 + size * 0.35),
        (width - size * 0.6, height / 2 + size * 0.35),
        (width / 2, size),
        (width / 2, height - size * 0.3),
    )
    return "".join(
        f'<text class="side" x="{x:.0f}" y="{y:.0f}" font-size="{size}">{letter}</text>'
        for letter, (x, y) in zip(part.plane.letters, places, strict=True)
    )


def _scale_bar(part: SlicePicture, width: int, height: int) -> str:
    """A bar of a round length, with it in words."""
    pixels_per_mm = max(part.size) / max(part.size_mm)
    length = round_length(BAR_SHARE * width / pixels_per_mm)
    size = _letter_size(width, height)
    x, y, long = size * 0.5, height - size * 0.5, length * pixels_per_mm
    return (
        f'<path class="bar-line" d="M{x:.1f} {y:.1f}h{long:.1f}" stroke-width="{size / 5:.1f}"/>'
        f'<text class="bar-text" x="{x:.0f}" y="{y - size * 0.35:.0f}" font-size="{size * 0.8:.0f}">'
        f"{length_text(length)}</text>"
    )


def round_length(mm: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above ``mm``."""
    power = 10.0 ** int(f"{mm:e}".split("e")[1])
    return next(step * power for step in (5, 2, 1) if step * power <= mm * (1 + 1e-9))


def length_text(mm: float) -> str:
    """A length in cm, mm or µm."""
    if mm >= 10:
        return f"{number(mm / 10)} cm"
    return f"{number(mm)} mm" if mm >= 1 else f"{number(mm * 1000)} µm"


def _letter_size(width: int, height: int) -> int:
    return max(8, round(max(width, height) / 17))
