"""One dataclass, three ways to set it: flag, variable, default."""

import tomllib
from pathlib import Path

import pytest

import vesal
from vesal.inference.data.errors import UsageError
from vesal.inference.runner.arguments import make_parser, read_settings
from vesal.inference.runner.settings import Settings


def test_nothing_given_is_the_contract() -> None:
    """Without arguments the folders are the organizers', and nothing comes from an empty environment."""
    settings = read_settings([], {})
    assert settings == Settings()
    assert (settings.inputs, settings.outputs) == (Path("/workspace/inputs"), Path("/workspace/outputs"))


def test_flags_take_the_type_of_their_field() -> None:
    """Paths, whole numbers and seconds arrive as such."""
    settings = read_settings(
        [
            "in",
            "out",
            "--prompts",
            "p.json",
            "--threads",
            "2",
            "--seconds",
            "1.5",
            "--report",
            "r.json",
            "-vv",
        ],
        {},
    )
    assert (settings.inputs, settings.outputs, settings.prompts) == (Path("in"), Path("out"), Path("p.json"))
    assert (settings.threads, settings.seconds, settings.verbosity) == (2, 1.5, 2)


def test_the_stage_for_masks_is_a_setting() -> None:
    """Unset, it is left to the weights."""
    assert read_settings([], {}).hybrid is None
    assert read_settings(["--hybrid", "coarse"], {"VESAL_HYBRID": "off"}).hybrid == "coarse"
    assert read_settings([], {"VESAL_HYBRID": "off"}).hybrid == "off"


def test_a_flag_wins_over_a_variable_over_the_default() -> None:
    """VESAL_SECONDS alone holds; a flag beside it is stronger; a blank variable is no variable."""
    assert read_settings([], {"VESAL_SECONDS": "30", "VESAL_WEIGHTS": " "}).seconds == 30.0
    assert read_settings(["--seconds", "5"], {"VESAL_SECONDS": "30"}).seconds == 5.0
    assert read_settings([], {"VESAL_WEIGHTS": " "}).weights == "nano"
    assert read_settings([], {"VESAL_RUNTIME": "onnxruntime", "VESAL_THREADS": "3"}) == Settings(
        runtime="onnxruntime", threads=3
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "part"),
    [
        (["--nope"], {}, "--nope"),
        (["--sec", "5"], {}, "--sec"),
        (["a", "b", "c"], {}, "c"),
        (["a"], {}, "OUTPUTS"),
        (["--hybrid", "both"], {}, "coarse, fine, off"),
        ([], {"VESAL_HYBRID": "both"}, "coarse, fine, off"),
        (["--seconds", "soon"], {}, "soon"),
        (["--seconds", "0"], {}, "seconds is 0.0"),
        (["--seconds", "nan"], {}, "seconds is nan"),
        (["--threads", "0"], {}, "threads is 0"),
        (["--runtime", "abacus"], {}, "openvino"),
        ([], {"VESAL_THREADS": "many"}, "VESAL_THREADS is 'many'"),
        ([], {"VESAL_RUNTIME": "abacus"}, "abacus"),
    ],
)
def test_wrong_usage_says_what_came(arguments: list[str], environment: dict[str, str], part: str) -> None:
    """Every wrong value is a UsageError that names it."""
    with pytest.raises(UsageError, match=part):
        read_settings(arguments, environment)


def test_every_field_has_its_line_in_the_help() -> None:
    """The line under a field is what `--help` shows; a field without one would show nothing."""
    shown = " ".join(make_parser().format_help().split())
    assert "upper limit of CPU threads; otherwise all that affinity and container allow" in shown
    for action in make_parser()._actions:
        assert action.help, action.dest


def test_version_is_the_projects(root: Path) -> None:
    """pyproject.toml and the report must not speak of different versions."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"] == {"path": "vesal/__init__.py"}
    assert vesal.__version__.count(".") == 2
