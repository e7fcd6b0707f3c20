"""What is wrong with a published file; each message says what came, what was wanted and what to do."""

from collections.abc import Sequence

from vesal.inference.data.errors import VesalError


class CheckpointError(VesalError, ValueError):
    """A checkpoint cannot be read, or is not the one that was wanted."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint's pickle asks for something that no checkpoint needs; nothing of it was run."""


class MissingTensorsError(CheckpointError):
    """Tensors that the network needs are not in the file, or the file ends before they do."""

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        """``missing`` are all of them by name; the message shows the first."""
        super().__init__(message)
        self.missing = tuple(missing)


class TokenizerError(VesalError, ValueError):
    """The folder of the tokenizer lacks what the text encoder needs."""


class ConversionError(VesalError, RuntimeError):
    """The converted graph does not give what the network gives."""
