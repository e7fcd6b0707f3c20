"""What the learning curves are made of: rows of several processes, resumed runs, training and validation."""

from pathlib import Path

import pytest

from vesal.training.curves import Line, LogError, parse_key, plot_curves, read_logs

pytest.importorskip("matplotlib", reason="curves are drawn with matplotlib")

HEADER = "step,seconds,rate,key,value\n"


def write_log(folder: Path, *rows: str, name: str = "log.csv") -> Path:
    (folder / name).write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("MR_Heart_ACDC coarse", Line("MR_Heart_ACDC", "coarse", False)),
        ("val MR_Heart_ACDC fine", Line("MR_Heart_ACDC", "fine", True)),
        ("loss fine", Line("loss", "fine", False)),
        ("val MR_Heart_ACDC", Line("MR_Heart_ACDC", "", True)),
        ("fine", Line("fine", "", False)),
        ("val", Line("val", "", False)),
    ],
)
def test_a_key_names_panel_stage_and_split(key: str, line: Line) -> None:
    assert parse_key(key) == line


def test_processes_are_averaged_step_by_step(tmp_path: Path) -> None:
    """Two processes agree on step 20 only; validation is written by the first alone."""
    write_log(tmp_path, "20,5,1e-3,A fine,0.2", "40,9,1e-3,A fine,0.4", "40,9,1e-3,val A fine,0.3")
    write_log(tmp_path, "20,5,1e-3,A fine,0.4", name="log1.csv")
    curves = read_logs(tmp_path)
    assert curves[Line("A", "fine", False)] == pytest.approx({20: 0.3, 40: 0.4})
    assert curves[Line("A", "fine", True)] == {40: 0.3}


def test_a_resumed_run_overwrites_the_steps_it_repeats(tmp_path: Path) -> None:
    write_log(tmp_path, "20,5,1e-3,A fine,0.1", "40,9,1e-3,A fine,0.2", "20,6,1e-3,A fine,0.15")
    assert read_logs(tmp_path)[Line("A", "fine", False)] == {20: 0.15, 40: 0.2}


def test_a_row_still_being_written_a_nan_and_wall_times_are_left_out(tmp_path: Path) -> None:
    write_log(tmp_path, "20,5,1e-3,A fine,0.1", "20,5,1e-3,val A fine,nan", "20,5,1e-3,time data,0.1")
    with (tmp_path / "log.csv").open("a") as handle:
        handle.write("40,9,1e-3,A fi")
    assert read_logs(tmp_path) == {Line("A", "fine", False): {20: 0.1}}


@pytest.mark.parametrize("row", ["20,5,1e-3,A fine", "x,5,1e-3,A fine,0.1", "20,5,1e-3,A fine,good"])
def test_a_row_of_another_kind_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    write_log(tmp_path, "20,5,1e-3,A fine,0.1", row)
    with pytest.raises(LogError, match="line 3, is .*wanted step, seconds"):
        read_logs(tmp_path)


def test_a_folder_without_log_or_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no log"):
        read_logs(tmp_path)
    write_log(tmp_path)
    with pytest.raises(LogError, match="no row"):
        read_logs(tmp_path)


def test_the_same_log_gives_the_same_picture_and_another_log_another(tmp_path: Path) -> None:
    rows = [
        f"{s},{s},1e-3,{key},{s / 100}" for s in (20, 40) for key in ("loss fine", "A fine", "val A fine")
    ]
    write_log(tmp_path, *rows)
    pictures = []
    for name in ("a.png", "b.png"):
        plot_curves(tmp_path, tmp_path / name)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    write_log(tmp_path, *rows, "60,60,1e-3,val A fine,0.9")
    plot_curves(tmp_path, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes() != pictures[0]
