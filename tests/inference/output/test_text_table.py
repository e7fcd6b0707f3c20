"""Plain tables."""

from vesal.inference.output.text_table import aligned


def test_columns_are_aligned_and_lines_end_with_their_text() -> None:
    rows = [("name", "size", "paper"), ("a", None, "of 2025"), ("longer", "11 MB", "")]
    assert list(aligned(rows)) == ["name    size   paper", "a       -      of 2025", "longer  11 MB"]


def test_no_rows_are_no_lines() -> None:
    assert not list(aligned([]))
