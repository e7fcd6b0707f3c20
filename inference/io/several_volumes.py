"""Files that hold several volumes, of which one is the case."""

from __future__ import annotations

from vesal.inference.data.errors import SeveralVolumesError


def chosen_volume(name: str, volumes: int, chosen: int | None) -> int:
    """Index of the volume that is the case. Raises SeveralVolumesError."""
    if volumes == 1 and chosen in (None, 0):
        return 0
    if chosen is None:
        raise SeveralVolumesError(
            f"{name}: there are {volumes} volumes along further axes (time, channels, ...); choose one by "
            f"its number, `volume` 0 to {volumes - 1}."
        )
    if not 0 <= chosen < volumes:
        raise SeveralVolumesError(
            f"{name}: volume {chosen} is wanted, and there are {volumes}: 0 to {volumes - 1}."
        )
    return chosen
