"""Named errors: each message says what came, what was wanted and what to do about it.

`VesalError` catches everything the project raises on purpose. `CaseError` concerns one case only: the loop
over cases writes a fallback for it and continues with the next one.
"""

import reprlib


class VesalError(Exception):
    """Base of every error that Vesal raises on purpose."""


class UsageError(VesalError, ValueError):
    """The command line is invalid."""


class TextEmbeddingsError(UsageError):
    """Text vectors that a user gave cannot be used, or not with these weights."""


class ProfileError(VesalError, ValueError):
    """A weights folder is incomplete, changed or invalid."""


class RuntimeChoiceError(VesalError, RuntimeError):
    """No runtime can be used, or not the requested one."""


class OutOfDeviceMemoryError(VesalError, MemoryError):
    """Out of GPU memory; the engine retries with smaller windows or fewer queries."""


class CancelledError(VesalError):
    """The caller's progress function returned False."""


class CaseError(VesalError, ValueError):
    """Something about one case; the other cases are not affected."""


class UnreadableFileError(CaseError):
    """The file is absent, a folder, or the system refuses to read it."""


class NotAnArchiveError(CaseError):
    """The file is not a zip archive, so it is no npz."""


class TruncatedArchiveError(CaseError):
    """The archive began as a zip but is cut short or damaged."""


class TooManyArraysError(CaseError):
    """The archive's table of members is longer than what is read."""


class MissingKeyError(CaseError, KeyError):
    """An array that the case needs is not in the archive."""

    def __str__(self) -> str:
        """Give the plain message; `KeyError` would quote it."""
        return str(self.args[0]) if self.args else ""


class ArrayHeaderError(CaseError):
    """An array's npy header cannot be read, or promises another size than the archive holds."""


class VolumeShapeError(CaseError):
    """The volume has not exactly three axes."""


class EmptyVolumeError(VolumeShapeError):
    """An axis of the volume has length 0."""


class VolumeSizeError(CaseError):
    """The volume is larger than what is read, or than the memory can hold."""


class IntensityError(CaseError):
    """The volume's values cannot be used: NaN, infinite, or not real numbers."""


class SpacingError(CaseError):
    """The voxel spacing is not three positive, finite lengths in mm."""


class ModalityError(CaseError):
    """There is no such modality."""


class NiftiError(CaseError):
    """A file is no NIfTI-1 volume that can be read, or not of the shape that is wanted."""


class AffineError(CaseError):
    """A file's affine cannot place its voxels: not finite, or axes that do not span space."""


class ColourError(CaseError):
    """The voxels hold colours, vectors or complex numbers instead of one real number each."""


class SeveralVolumesError(CaseError):
    """A file holds several volumes, and none of them was chosen; or the one that was is not there."""


class FileFormatError(CaseError):
    """A file is not what its name promises, or damaged, or of a kind that is not read."""


class DicomError(FileFormatError):
    """There is no DICOM image, or its pixels cannot be had."""


class SeriesError(DicomError):
    """A DICOM series is not there, or makes no volume: slices are missing, or overlap."""


class MissingPackageError(CaseError, ImportError):
    """A format needs a package that is not installed."""


class UserPromptError(CaseError):
    """A mask, boxes or points that a user gave cannot be used; a case from a file runs without them."""

    malformed: bool = False
    """Whether it has no form that is read at all; else it is of a form that is, and does not fit the case."""


class MaskError(UserPromptError):
    """A mask cannot be used."""


class MaskShapeError(MaskError):
    """A mask is not on the volume's grid."""


class MaskSizeError(MaskError):
    """A mask is larger than what the memory can hold."""


class MaskTypeError(MaskError):
    """A mask's values are not whole numbers from 0 to 65535."""


class MaskIdError(MaskError):
    """A mask's values are not ids of prompts."""


class BoxError(UserPromptError):
    """A box is no box of whole voxels that meets the volume, or belongs to no prompt."""


class PointError(UserPromptError):
    """A point is no voxel of the volume, has no label, or belongs to no prompt."""


class PromptError(CaseError):
    """Something about the prompts of a case."""


class UnsafePickleError(PromptError):
    """A pickle uses something that no prompt needs; nothing of it was run."""


class PromptFileError(PromptError):
    """A JSON file with prompts is unreadable, broken, or has another layout."""


class PromptIdError(PromptError):
    """A prompt's id is not a whole number from 1 to 65535, or comes twice."""


class PromptTextError(PromptError):
    """A prompt's sentence is not text, or blank."""


class SentenceLengthError(PromptTextError):
    """A prompt's sentence is too long to be one."""


class TooManyPromptsError(PromptError):
    """There are more prompts, or keys, than are read."""


class InstanceLabelError(PromptError):
    """`instance_label` is neither 0 nor 1."""


class NoPromptsError(PromptError):
    """There are no prompts."""


class LabelMapError(VesalError, ValueError):
    """An array cannot be written as a label map: negative, not whole numbers, or too large."""


def shown(value: object, limit: int = 80) -> str:
    """Return `repr(value)` for a message, abridged to `limit` characters and two levels; never raises."""
    abridged = reprlib.Repr()
    abridged.maxlevel, abridged.maxstring, abridged.maxother = 2, limit, limit
    try:
        text = abridged.repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits has no repr
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class CaseAbandoned(BaseException):
    """The case was abandoned, and its thread must stop. Not an Exception: it is no error."""
