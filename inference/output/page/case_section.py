"""One case of the page: warnings, what was asked for and found, pictures, decisions and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vesal.inference.data.colours import colour_of, hex_of
from vesal.inference.data.results import GOOD, CaseReport, PromptResult
from vesal.inference.output.page.curves import slice_curve
from vesal.inference.output.page.markup import (
    UNKNOWN,
    list_of,
    number,
    plural,
    seconds,
    share,
    spacing,
    swatch,
    table,
    text_of,
    triple,
    volume,
)
from vesal.inference.output.page.montage import counted_towards, figures, shared_slices_svg
from vesal.inference.output.page.pictures import ALL_TARGETS, NO_TARGET, CasePictures
from vesal.inference.output.page.warnings import notes_of, warnings_of

YES, NO = "yes", "no"


def case_key(number_: int) -> str:
    """What the ids of a case begin with."""
    return f"case-{number_ + 1}"


def case_section(case: CaseReport, pictures: CasePictures | None, number_: int, why_none: str) -> str:
    """The whole section.

    Args:
        case: its report.
        pictures: None where there are none, for the reason ``why_none``.
        number_: of the case in the run, from 0 on.
        why_none: a sentence; empty where the case says enough itself.
    """
    key = case_key(number_)
    parts = [
        f"<h2>{text_of(case.name)} {state_of(case)}</h2>",
        _warning_list(case),
        note_list(notes_of(case)),
        _facts(case),
        _prompts(case),
        _montages(case, pictures, key) if pictures else "",
        f'<p class="note">{text_of(why_none)}</p>' if why_none and not pictures else "",
        _decisions(case),
    ]
    return f'<section class="case" id="{key}">{"".join(parts)}</section>'


def state_of(case: CaseReport) -> str:
    """Its state in a word, in a frame."""
    return f'<span class="state {"good" if case.state in GOOD else "bad"}">{text_of(case.state)}</span>'


def _warning_list(case: CaseReport) -> str:
    lines = warnings_of(case)
    if not lines:
        return ""
    return f'<div class="warnings" role="note"><strong>Warnings</strong>{list_of(lines)}</div>'


def note_list(notes: Sequence[str]) -> str:
    """Notes in a frame of their own; empty without."""
    return f'<div class="notes" role="note"><strong>Notes</strong>{list_of(notes)}</div>' if notes else ""


def _facts(case: CaseReport) -> str:
    """Where it came from and how it was understood, and the seconds against the budget."""
    modality = case.modality or UNKNOWN
    why = f" ({case.modality_why})" if case.modality_why else ""
    rows = (
        ("Input", case.input),
        ("Output", f"{case.output}: {case.written}"),
        ("Volume (D × H × W)", f"{triple(case.shape)} voxels of {spacing(case.spacing_dhw_mm)}"),
        ("Modality", f"{modality}{why}"),
        ("Labels", "one for each object" if case.instance else "one for each prompt"),
    )
    lines = "".join(f"<dt>{head}</dt><dd>{text_of(value)}</dd>" for head, value in rows)
    return f'<dl class="facts">{lines}<dt>Time</dt><dd>{time_bar(case)}</dd></dl>'


def time_bar(case: CaseReport) -> str:
    """Seconds against the budget, as a bar and in words."""
    if case.budget_s is None:
        return text_of(seconds(case.seconds))
    spent = min(1.0, case.seconds / case.budget_s) * 100
    words = f"{seconds(case.seconds)} of {seconds(case.budget_s)}"
    return (
        f'{text_of(words)} <svg class="time" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" '
        f'aria-label="{spent:.0f} percent of the budget"><rect width="100" height="8" class="rest"/>'
        f'<rect width="{spent:.1f}" height="8" class="spent"/></svg>'
    )


def _prompts(case: CaseReport) -> str:
    if not case.prompts:
        return '<p class="note">No prompt was read.</p>'
    head = ("Prompt", "Sentence", "Read as", "Covered", "Volume", "Mean probability")
    return table(head, map(_prompt_row, case.prompts), "What was asked for, and what was found", "prompts")


def _prompt_row(prompt: PromptResult) -> tuple[str, ...]:
    read_as = f"<strong>{text_of(prompt.target or 'nothing known')}</strong>"
    if prompt.modality:
        read_as += f" in {text_of(prompt.modality)}"
    how = f"by {prompt.found_by}; {prompt.why}" if prompt.found_by != "none" else prompt.why
    asked = "; the network read the sentence itself" if prompt.asked_as == "sentence" else ""
    if prompt.candidates:
        how += "; agreement: " + ", ".join(f"{each.target} {each.score:.2f}" for each in prompt.candidates)
    return (
        swatch(prompt.id),
        f"<bdi>{text_of(prompt.text)}</bdi>" if prompt.text else "<em>no sentence</em>",
        f"{read_as}<br><small>{text_of(how)}{asked}</small>",
        _covered(prompt),
        _volume(prompt),
        share(prompt.mean_probability),
    )


def _covered(prompt: PromptResult) -> str:
    if prompt.covered is None:
        return "not known"
    return YES if prompt.covered else f'<span class="no">{NO}</span>'


def _volume(prompt: PromptResult) -> str:
    objects = "" if prompt.objects is None else f"<br><small>{plural(prompt.objects, 'object')}</small>"
    return f"{volume(prompt.volume_ml)}{objects}"


def _montages(case: CaseReport, pictures: CasePictures, key: str) -> str:
    """Each target's three planes and its curve."""
    parts = [shared_slices_svg(pictures.slices, key)]
    if pictures.axis_codes is None:
        parts.append(
            '<p class="note">The file does not say which side is which: no letters. It is drawn with '
            "axis D upwards, H downwards and W to the right.</p>"
        )
    if NO_TARGET in pictures.shown:
        parts.append(
            _one_montage(pictures, NO_TARGET, key, "No target was found: the middle of the volume", "")
        )
    if ALL_TARGETS in pictures.shown:
        parts.append(
            _one_montage(pictures, ALL_TARGETS, key, "All targets, in the colours above", "all targets")
        )
    parts += (_target(prompt, pictures, key) for prompt in case.prompts if prompt.id in pictures.shown)
    if pictures.left_out:
        parts.append(f'<p class="note">{pictures.left_out} smaller targets are not drawn.</p>')
    return "".join(parts)


def _one_montage(pictures: CasePictures, shown: int, key: str, title: str, target: str) -> str:
    drawn = figures(pictures.slices, pictures.shown[shown], key, target)
    return f'<div class="target"><h3>{title}</h3><div class="montage">{drawn}</div></div>'


def _target(prompt: PromptResult, pictures: CasePictures, key: str) -> str:
    name = prompt.target or prompt.text
    views = pictures.shown[prompt.id]
    drawn = figures(pictures.slices, views, key, name)
    d, h, w = pictures.spacing_dhw_mm
    shown = next((pictures.slices[part] for part, _ in views if pictures.slices[part].plane.axis == 0), None)
    towards = pictures.axis_codes[0] if pictures.axis_codes else None
    curve, told = slice_curve(
        pictures.areas[prompt.id],
        h * w,
        hex_of(colour_of(prompt.id)),
        shown.index if shown else None,
        counted_towards(towards),
        pictures.presence.get(prompt.id),
    )
    size = volume(prompt.volume_ml)
    probability = "" if prompt.mean_probability is None else f", probability {share(prompt.mean_probability)}"
    return (
        f'<div class="target"><h3>{swatch(prompt.id)} {text_of(name)} <small>{size}{probability}</small></h3>'
        f'<div class="montage">{drawn}<figure class="curve">{curve}<figcaption>{told} per slice along D'
        "</figcaption></figure></div></div>"
    )


def _decisions(case: CaseReport) -> str:
    """Stages, steps dropped for time, and where the seconds went; folded away."""
    parts = list(_decision_tables(case))
    if not parts:
        return ""
    return f"<details><summary>Decisions and seconds</summary>{''.join(parts)}</details>"


def _decision_tables(case: CaseReport) -> Iterator[str]:
    if case.stages:
        head = ("Stage", "Spacing (mm)", "Grid", "Windows", "Skipped", "Seconds", "Peak MB", "Why")
        rows = (
            (
                text_of(stage.name),
                triple(stage.spacing_dhw_mm),
                triple(stage.grid),
                str(stage.windows),
                str(stage.skipped),
                f"{stage.seconds:.2f}",
                number(stage.peak_mb),
                f"<small>{text_of(stage.why)}</small>",
            )
            for stage in case.stages
        )
        yield table(head, rows, "Stages of the network")
    if case.ladder:
        steps = ((text_of(s.step), text_of(s.why), f"{s.at_s:.1f} s") for s in case.ladder)
        yield table(("Left out", "Why", "At"), steps, "Steps left out as time was short")
    if case.seconds_of:
        spent = ((text_of(name), f"{value:.2f}") for name, value in case.seconds_of.items())
        yield table(("Step", "Seconds"), spent, "Seconds of the case's steps")
