"""Names and colours of labels, in the files of the programs that show label maps.

A label map holds numbers. Beside `NAME_seg.nii.gz` lie `NAME_seg.json` (all that is known), `NAME_seg.ctbl`
(3D Slicer) and `NAME_seg.label` (ITK-SNAP); NIfTI and NRRD also have them inside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from vesal.inference.data.colours import RGB, colour_of
from vesal.inference.data.errors import UsageError
from vesal.inference.io.formats import format_of, suffix_of, written_suffixes
from vesal.inference.io.label_writer import smallest_type, write_label_map
from vesal.inference.io.temporary import replacing

LABEL_TABLE = 0
"""Code of the NIfTI extension with the label table, as TotalSegmentator has it. Caret's own code, 30, is the
truer one, but nibabel 5.4 cannot give the content of such an extension."""
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class LabelName:
    """What one value of a label map means."""

    value: int
    name: str
    colour: RGB


def label_names(names: dict[int, str]) -> tuple[LabelName, ...]:
    """Names by value, each on one line and none twice, with their colours."""
    taken: set[str] = set()
    labels = []
    for value, name in names.items():
        plain = " ".join("".join(c if c.isprintable() else " " for c in name).split()) or f"target {value}"
        unique, number = plain, 1
        while unique in taken:
            number += 1
            unique = f"{plain} ({number})"
        taken.add(unique)
        labels.append(LabelName(value, unique, colour_of(value)))
    return tuple(labels)


def write_named_labels(path: Path, labels: np.ndarray, header: object, names: Sequence[LabelName]) -> None:
    """Write a label map (D,H,W) as `label_writer.write_label_map` does, with names inside where the format
    has room for them: NIfTI (extension of Caret's XML), NRRD (fields of 3D Slicer's segmentations).
    """
    suffix = suffix_of(path)
    if suffix not in (".nii", ".nii.gz", ".nrrd"):
        write_label_map(path, labels, header)
        return
    inside = slicer_fields(names, labels.shape) if suffix == ".nrrd" else [(LABEL_TABLE, caret_xml(names))]
    dtype = smallest_type(labels)
    with replacing(path) as file:
        format_of(path).write(file, labels, dtype, header, inside)  # type: ignore[call-arg]


def check_place(path: Path, source: Path | None) -> None:
    """Raise UsageError unless a label map may be written there; ``source`` is the file that was read."""
    if suffix_of(path) not in written_suffixes():
        raise UsageError(f"{path}: label maps are {', '.join(written_suffixes())}; name it so.")
    if source is not None and os.path.realpath(path) == os.path.realpath(source):
        raise UsageError(f"{path} is the scan itself, which is not replaced; give another name.")


def save_labels(path: Path, labels: np.ndarray, header: object, names: dict[int, str]) -> None:
    """Write a label map (D,H,W) and beside it what 3D Slicer and ITK-SNAP want to know."""
    known = label_names(names)
    write_named_labels(path, labels, header, known)
    stem = path.name[: -len(suffix)] if (suffix := suffix_of(path)) else path.name
    write_text(path.with_name(f"{stem}.ctbl"), slicer_colours(known))
    write_text(path.with_name(f"{stem}.label"), snap_labels(known))


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; halves of characters become escapes."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def caret_xml(names: Sequence[LabelName]) -> bytes:
    """A label table in the XML of Caret, as TotalSegmentator writes it into its label maps."""
    rows = [_caret_row(0, "background", (0, 0, 0), 0)]
    rows += [_caret_row(each.value, each.name, each.colour, 1) for each in names]
    table = "".join(rows)
    return (
        f'{XML}<CaretExtension><VolumeInformation Index="0"><LabelTable>{table}</LabelTable>'
        "<StudyMetaDataLinkSet></StudyMetaDataLinkSet><VolumeType><![CDATA[Label]]></VolumeType>"
        "</VolumeInformation></CaretExtension>"
    ).encode()


def _caret_row(value: int, name: str, colour: RGB, alpha: int) -> str:
    red, green, blue = (f"{part / 255:.6g}" for part in colour)
    fields = f'Key="{value}" Red="{red}" Green="{green}" Blue="{blue}" Alpha="{alpha}"'
    return f"<Label {fields}>{escape(name)}</Label>"


def slicer_fields(names: Sequence[LabelName], shape: Sequence[int]) -> dict[str, str]:
    """`key:=value` of an NRRD as 3D Slicer's segmentations have them (SlicerRt, segmentation file format)."""
    d, h, w = (1, 1, 1, *shape)[-3:]
    fields = {"Segmentation_MasterRepresentation": "Binary labelmap"}
    fields["Segmentation_ContainedRepresentationNames"] = "Binary labelmap|"
    for place, each in enumerate(names):
        segment = f"Segment{place}_"
        fields[segment + "ID"] = f"Segment_{each.value}"
        fields[segment + "Name"] = each.name
        fields[segment + "NameAutoGenerated"] = "0"
        fields[segment + "Color"] = " ".join(f"{part / 255:.6g}" for part in each.colour)
        fields[segment + "ColorAutoGenerated"] = "0"
        fields[segment + "LabelValue"] = str(each.value)
        fields[segment + "Layer"] = "0"
        fields[segment + "Extent"] = f"0 {w - 1} 0 {h - 1} 0 {d - 1}"
    return fields


def slicer_colours(names: Sequence[LabelName]) -> str:
    """A colour table of 3D Slicer, `.ctbl`: value, name without blanks, red, green, blue, alpha."""
    lines = ["# Color table file", f"# {len(names) + 1} values", "0 background 0 0 0 0"]
    lines += [f"{e.value} {_without_blanks(e.name)} {' '.join(map(str, e.colour))} 255" for e in names]
    return "\n".join(lines) + "\n"


def snap_labels(names: Sequence[LabelName]) -> str:
    """A label description file of ITK-SNAP, `.label`: value, colour, opacity, seen, seen in 3D, name."""
    lines = ["# ITK-SNAP Label Description File", "# IDX -R- -G- -B- -A- VIS MSH LABEL"]
    lines.append(_snap_row(0, (0, 0, 0), "0  0  0", "Clear Label"))
    lines += [_snap_row(each.value, each.colour, "1  1  1", each.name) for each in names]
    return "\n".join(lines) + "\n"


def _snap_row(value: int, colour: RGB, shown: str, name: str) -> str:
    red, green, blue = colour
    quoted = name.replace('"', "'")
    return f'{value:5d} {red:5d} {green:4d} {blue:4d}        {shown}    "{quoted}"'


def _without_blanks(name: str) -> str:
    return "_".join(name.split())
