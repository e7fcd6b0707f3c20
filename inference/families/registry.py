"""Families of networks by the name that a manifest gives: how the model of a profile is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vesal.inference.data.errors import ProfileError
from vesal.inference.families.contract import Loader, Model
from vesal.inference.planning.manifest import MANIFEST
from vesal.inference.planning.profile import Profile

NANO, QUERY = "nano", "query"


# Each is imported when it is opened: a run needs one of them.
def _nano(profile: Profile, runtime: Loader) -> Model:
    from vesal.inference.families.nano import NanoModel

    return NanoModel.open(profile, runtime)


def _query(profile: Profile, runtime: Loader) -> Model:
    from vesal.inference.families.query import QueryModel

    return QueryModel.open(profile, runtime)


FAMILIES: Mapping[str, Callable[[Profile, Loader], Model]] = {NANO: _nano, QUERY: _query}


def open_model(profile: Profile, runtime: Loader) -> Model:
    """The model of a profile; its graphs are read when they are first run.

    Raises:
        ProfileError: there is no such family, or its own fields of the manifest are not right.
    """
    if profile.family not in FAMILIES:
        raise ProfileError(
            f"{profile.folder / MANIFEST} does not describe weights: Expected one of {', '.join(FAMILIES)} "
            f"- at `$.family`, which is {profile.family!r}. Export or convert the weights again."
        )
    return FAMILIES[profile.family](profile, runtime)
