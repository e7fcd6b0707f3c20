"""Run the README's lines of Python on a real case: `readme_lines.py README CASE.npz`.

The lines are the README's own, `image` is the case's.
"""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np


def lines_of(readme: str) -> str:
    """Return the README's first block that imports vesal, without its indent."""
    found = re.search(r"^    import vesal\n(?:    .*\n)+", readme, re.MULTILINE)
    if not found:
        raise SystemExit("the README has no block of code that begins with `import vesal`")
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)


def main(readme: Path, case: Path) -> None:
    """Run the lines; SystemExit where the labels are not a label map of the case with something in it."""
    with np.load(case, allow_pickle=True) as archive:
        image = archive["imgs"]
    names: dict[str, Any] = {"image": image}
    exec(compile(lines_of(readme.read_text(encoding="utf-8")), readme.name, "exec"), names)
    labels = names["result"].labels
    ids = np.unique(labels).tolist()
    print(f"{labels.shape} {labels.dtype}, values {ids}, vesal of {Path(names['vesal'].__file__).parent}")
    if labels.shape != image.shape or not {0, 1} <= set(ids) <= {0, 1, 2}:
        raise SystemExit(f"wanted the shape {image.shape} and the values 0, 1 (liver) and perhaps 2")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
