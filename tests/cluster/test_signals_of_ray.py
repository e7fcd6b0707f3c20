"""What a signal's handler raises inside Ray's compiled code."""

from __future__ import annotations

import pytest

from vesal.cluster.ray_run import signals_as_sent
from vesal.inference.runner.signals import Terminated


@pytest.mark.parametrize("sent", [Terminated(), KeyboardInterrupt()])
def test_it_is_raised_as_it_was(sent: BaseException) -> None:
    with pytest.raises(type(sent)) as found, signals_as_sent():
        raise SystemError("returned a result with an exception set") from sent
    assert found.value is sent


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(SystemError, match="broken"), signals_as_sent():
        raise SystemError("broken") from ValueError("of Ray")
