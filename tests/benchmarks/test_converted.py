"""The tables "Converted against original": the same columns for all profiles, and where they stand."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="networks are compared in torch")

from benchmarks.converted import COLUMNS, PROFILES, TABLE, percent, write  # noqa: E402

TEXT = "| network | x |\n| --- | --- |\n| new | 1 |\n\nMeasured with something.\n"


@pytest.mark.parametrize(
    ("share", "shown"), [(1.0, "100.00 %"), (0.99999, "99.99 %"), (0.0, "0.00 %"), (None, "-")]
)
def test_only_all_voxels_are_a_hundred_percent(share: float | None, shown: str) -> None:
    assert percent(share) == shown


def test_the_table_and_its_line_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    old = "| network | y | z |\n| --- | --- | --- |\n| a | b | c |\n\nMeasured with it,\nor so.\n"
    readme.write_text(f"# Weights\n\n| other | table |\n\n{old}\n## More\n\ntext\n")
    assert write(readme, TEXT)
    assert readme.read_text() == f"# Weights\n\n| other | table |\n\n{TEXT}\n## More\n\ntext\n"


def test_a_readme_without_a_table_is_left_as_it_is(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Weights\n")
    assert not write(readme, TEXT)
    assert readme.read_text() == "# Weights\n"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_one_table_with_the_same_columns(root: Path, profile: str) -> None:
    text = (root / "weights" / profile / "README.md").read_text()
    (found,) = TABLE.findall(text)
    head, rule, *rows = [line for line in found.splitlines() if line.startswith("|")]
    assert tuple(cell.strip() for cell in head.strip("|").split("|")) == COLUMNS
    assert rows and all(row.count("|") == len(COLUMNS) + 1 for row in (rule, *rows))
    assert f"python -m benchmarks.converted {profile}`" in found
    assert text.index("## Converted against original\n") < text.index(found)
