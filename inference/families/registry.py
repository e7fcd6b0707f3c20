"""Families of networks by name: how the model of a profile is opened, and what a stage needs of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vesal.inference.families.contract import Loader, Model
from vesal.inference.families.nano import NanoModel
from vesal.inference.planning.profile import Profile


def _volume(profile: Profile, runtime: Loader) -> Model:
    graphs = {int(degree): path for degree, path in profile.graphs.items()}
    return NanoModel.load(graphs, profile.bank, runtime)


def _query(profile: Profile, runtime: Loader) -> Model:
    from vesal.inference.families.query import (
        QueryModel,  # imported where it is used: most runs need no such family
    )

    return QueryModel.load(profile.folder, runtime)


FAMILIES: Mapping[str, Callable[[Profile, Any], Model]] = {"volume": _volume, "query": _query}


def open_model(profile: Profile, runtime: Loader) -> Model:
    """The model of a profile; its graphs are read when they are first run. Raises ProfileError."""
    return FAMILIES[profile.family](profile, runtime)
