"""What `vesal --list` prints: the weights that are there, or the targets of one of them, as aligned text."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vesal.inference.data.errors import ProfileError, UsageError
from vesal.inference.output.text_table import aligned
from vesal.inference.planning.checked import read_json
from vesal.inference.planning.manifest import MANIFEST, CoveredTarget, SourceFile
from vesal.inference.planning.profile import Profile, read_profile
from vesal.inference.planning.weights_folder import WEIGHTS, weights_folder
from vesal.inference.prompts.vocabulary import Vocabulary, load_vocabulary
from vesal.inference.runner.target_search import search_targets


def list_weights(name: str = "", weights: Path = WEIGHTS) -> str:
    """The text for `--list` (without ``name``: all profiles below ``weights``) or `--list NAME`.

    Raises:
        UsageError: there are neither weights of that name nor a target, or a manifest cannot be used.

    A name of weights wins over the same word for a target, see ``target_search``.
    """
    if not name:
        return _all(weights)
    if not _is_there(name, weights) and (found := search_targets(name, _profiles(weights))):
        return found
    return _one(name, weights)


def _is_there(name: str, weights: Path) -> bool:
    """Whether there are weights of that name, or it is a path."""
    return (weights / name / MANIFEST).is_file() or Path(name).exists() or "/" in name


def _profiles(weights: Path) -> list[Profile]:
    """All weights that can be used."""
    profiles = []
    for folder in _folders(weights):
        with suppress(ProfileError):
            profiles.append(read_profile(folder, check_digests=False))
    return profiles


def _all(weights: Path) -> str:
    rows: list[tuple[str | None, ...]] = [
        ("name", "family", "modalities", "targets", "licence", "size", "paper")
    ]
    broken = []
    for folder in _folders(weights):
        try:
            profile = read_profile(folder, check_digests=False)
        except ProfileError as error:
            broken.append(f"{folder.name} cannot be used: {error}")
            continue
        rows.append(
            (
                profile.name,
                profile.family,
                ", ".join(profile.provenance.modalities) or None,
                str(len(profile.targets)),
                profile.licence,
                f"{_size_mb(profile):.1f} MB",
                profile.provenance.paper,
            )
        )
    return "\n".join([*aligned(rows), *broken])


def weights_there(weights: Path = WEIGHTS) -> list[str]:
    """Names of the weights below a folder."""
    return [path.name for path in _folders(weights)]


def _one(name: str, weights: Path) -> str:
    folder = weights / name if (weights / name / MANIFEST).is_file() else weights_folder(name)
    if not (folder / MANIFEST).is_file():
        known = ", ".join(weights_there(weights)) or "none"
        raise UsageError(
            f"There are no weights {name!r}; known are: {known}. No target is called so "
            "either. Give one of these, a word for a target, or the path of a folder "
            f"with a {MANIFEST}; `python -m vesal.weights.convert --list` tells what can be converted."
        )
    try:
        profile = read_profile(folder, check_digests=False)
    except ProfileError as error:
        raise UsageError(str(error)) from error
    vocabulary = load_vocabulary()
    found = sorted((_row(target, vocabulary) for target in profile.targets), key=lambda row: row[:2])
    rows = [("target", "modality", "Dice", "synonyms"), *found]
    return "\n".join([*aligned(_facts(profile)), "", *aligned(rows)])


def _row(target: CoveredTarget, vocabulary: Vocabulary) -> tuple[str, str, str | None, str | None]:
    """One target with its side, modality, measured Dice and the other words for it."""
    concept = vocabulary.concepts.get(target.concept)
    name = f"{target.side} {target.concept}" if target.side else target.concept
    dice = None if target.dsc is None else f"{target.dsc:.3f}"
    return name, target.modality, dice, ", ".join(concept.terms if concept else ()) or None


def _facts(profile: Profile) -> list[tuple[str, str | None]]:
    """Name and value of what is said above the targets."""
    told = profile.provenance
    return [
        ("name", profile.name),
        ("family", profile.family),
        ("folder", str(profile.folder)),
        ("size", f"{_size_mb(profile):.1f} MB"),
        ("licence", profile.licence),
        ("paper", told.paper),
        ("repository", told.repository),
        ("commit", told.commit),
        ("licence of the code", told.code_licence),
        ("licence of the weights", told.weights_licence),
        ("modalities", ", ".join(told.modalities) or None),
        *((f"made of ({role})", _source(file)) for role, file in told.files.items()),
    ]


def _source(file: SourceFile) -> str:
    return f"{file.file}, sha256 {file.sha256}" if file.sha256 else file.file


def _folders(weights: Path) -> list[Path]:
    """Folders of profiles below ``weights``: the text encoder's manifest names no family."""
    return [path.parent for path in sorted(weights.glob(f"*/{MANIFEST}")) if _is_profile(path)]


def _is_profile(manifest: Path) -> bool:
    try:
        content = read_json(manifest, "")
    except ProfileError:
        return True  # is told as one that cannot be used
    return isinstance(content, dict) and "family" in content


def _size_mb(profile: Profile) -> float:
    """Of the graphs, their weights, the bank and the text encoder."""
    files = (path for path in profile.folder.iterdir() if path.is_file())
    return sum(f.stat().st_size for f in files if f.suffix != ".md" and not f.name.startswith(".")) / 1e6
