"""The bar over windows: on a terminal only, with the time left."""

import time
from typing import Any

import pytest
import tqdm

from vesal.inference.output import logs
from vesal.inference.timing.progress import WindowProgress


def test_a_terminal_sees_windows_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "on_terminal", lambda: True)
    logs.set_up(0)
    bars = []

    class Shown(tqdm.tqdm):
        def __init__(self, **named: Any) -> None:
            super().__init__(mininterval=0, **named)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Shown)
    with logs.window_bar() as show:
        for windows in (1, 2, 3):
            show(WindowProgress("coarse", windows, 10, 0.0))
        show(WindowProgress("coarse", 4, 5, 0.0))
        assert show(WindowProgress("fine", 1, 2, 0.0))

    assert [(each.desc, each.n, each.total) for each in bars] == [
        ("coarse stage", 4, 5),
        ("fine stage", 1, 2),
    ]
    shown = capsys.readouterr().err
    assert "coarse stage:  30%" in shown and "3/10 [00:00<00:00" in shown


def test_elsewhere_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.window_bar() as show:
        assert show(WindowProgress("coarse", 1, 10, 0.0))
    assert capsys.readouterr().err == ""


def test_the_time_of_the_first_window_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is made when it is done; without it all others would seem to take no time."""
    monkeypatch.setattr(logs, "on_terminal", lambda: True)
    logs.set_up(0)
    bars: list[Any] = []

    class Shown(tqdm.tqdm):
        def __init__(self, **named: Any) -> None:
            super().__init__(mininterval=0, **named)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Shown)
    with logs.window_bar() as show:
        time.sleep(0.2)
        show(WindowProgress("coarse", 1, 10, 0.2))
        (shown,) = bars
        assert shown.format_dict["elapsed"] >= 0.2
