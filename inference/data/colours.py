"""Colours of targets, told apart with normal and with colour-blind eyes."""

from __future__ import annotations

RGB = tuple[int, int, int]

PALETTE: tuple[RGB, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (136, 0, 255),
    (102, 51, 17),
    (187, 238, 153),
    (68, 34, 170),
    (85, 51, 102),
    (0, 255, 221),
    (187, 85, 255),
    (238, 0, 85),
    (204, 170, 85),
    (119, 17, 51),
    (136, 85, 119),
    (153, 255, 119),
    (136, 204, 153),
    (238, 204, 255),
    (170, 17, 153),
    (102, 102, 68),
    (170, 85, 34),
)
"""RGB, 0 to 255. The first seven are those of Okabe and Ito (Color Universal Design, 2008) without black.

Each further one is, of a grid of 16 levels a channel, the farthest from those before it in CIELAB, by the
least of its distances as seen with normal eyes and without each kind of cone (Machado, Oliveira and Fernandes
2009, severity 1); two of the 24 are 15 or more apart in each view. None is near black, white or grey, which a
volume in grey holds already."""


def colour_of(prompt_id: int) -> RGB:
    """Colour of a prompt by its id, from 1 on; the palette begins anew after its last colour."""
    return PALETTE[(prompt_id - 1) % len(PALETTE)]


def hex_of(colour: RGB) -> str:
    """`#rrggbb`, as HTML and CSS write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
