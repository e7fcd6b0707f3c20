"""The checkout as it is installed, by links: what is in it, and what is not any more."""

from pathlib import Path

from tools.link_tree import link_tree, rooms


def test_rooms_lie_below_the_package(root: Path, tmp_path: Path) -> None:
    link_tree(tmp_path, root)
    assert {path.name for path in tmp_path.iterdir()} == {"vesal", "benchmarks", "tests", "tools"}
    assert set(rooms(root)) <= {path.name for path in (tmp_path / "vesal").iterdir()}
    for name in ("vesal/__init__.py", "vesal/py.typed", "vesal/inference/engine.py", "tests/conftest.py"):
        assert (tmp_path / name).is_file(), name


def test_links_to_what_has_gone_go(root: Path, tmp_path: Path) -> None:
    link_tree(tmp_path, root)
    (tmp_path / "vesal" / "gone.py").symlink_to(root / "vesal" / "no such file.py")
    link_tree(tmp_path, root)
    assert not (tmp_path / "vesal" / "gone.py").is_symlink()
    assert (tmp_path / "vesal" / "inference").is_dir()
