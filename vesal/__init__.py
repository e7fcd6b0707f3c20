"""Vesal segments 3D biomedical volumes from text prompts.

    import vesal

    model = vesal.load("nano")
    result = model.segment(image, spacing_mm=(3.0, 0.8, 0.8), prompts=["liver", "left kidney"])
    labels = result.labels

Installed, all code lies below this package. In a checkout its rooms are the folders beside this one
(`inference/`, `postprocess/`, `weights/`, ...), which are found here as well.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from vesal.inference.api import Model, load
    from vesal.inference.data.errors import CancelledError, VesalError
    from vesal.inference.result import Result
    from vesal.inference.timing.progress import WindowProgress

__version__ = "0.2.0"
__all__ = ["CancelledError", "Model", "Result", "VesalError", "WindowProgress", "__version__", "load"]

_PLACES = {
    "load": "vesal.inference.api",
    "Model": "vesal.inference.api",
    "Result": "vesal.inference.result",
    "WindowProgress": "vesal.inference.timing.progress",
    "CancelledError": "vesal.inference.data.errors",
    "VesalError": "vesal.inference.data.errors",
}
_CHECKOUT = _Path(__file__).resolve().parent.parent
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "inference" / "engine.py").is_file():
    __path__.append(str(_CHECKOUT))


def __getattr__(name: str) -> _Any:
    """Import what is called from Python only when it is asked for: the command starts without it."""
    module = _PLACES.get(name)
    if module is not None:
        return getattr(_import_module(module), name)
    raise AttributeError(f"module 'vesal' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """What there is to call, also before it was imported."""
    return sorted(__all__)
