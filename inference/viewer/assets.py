"""The files of the page, and NiiVue, which the build puts beside them."""

from __future__ import annotations

from pathlib import Path

from vesal.inference.data.errors import UsageError

HERE = Path(__file__).parent
NIIVUE = HERE / "vendor" / "niivue.umd.js"
FILES = {
    "": (HERE / "page" / "index.html", "text/html; charset=utf-8"),
    "viewer.css": (HERE / "page" / "viewer.css", "text/css; charset=utf-8"),
    "viewer.js": (HERE / "page" / "viewer.js", "text/javascript; charset=utf-8"),
    "marks.js": (HERE / "page" / "marks.js", "text/javascript; charset=utf-8"),
    "panel.js": (HERE / "page" / "panel.js", "text/javascript; charset=utf-8"),
    "niivue.js": (NIIVUE, "text/javascript; charset=utf-8"),
    "licence.txt": (HERE / "vendor" / "LICENSE", "text/plain; charset=utf-8"),
}
"""All that is served of the disk, by name: nothing else is ever opened."""


def read_assets() -> dict[str, tuple[bytes, str]]:
    """Content and type of every file, by name. Raises UsageError where NiiVue was not put there."""
    if not NIIVUE.is_file():
        raise UsageError(
            f"NiiVue, which draws the page, is not installed ({NIIVUE} is not there). In a checkout run "
            "`python tools/vendor_niivue.py`, which fetches it once from npm; a wheel built then has it. The "
            "container does without."
        )
    return {name: (path.read_bytes(), kind) for name, (path, kind) in FILES.items()}
