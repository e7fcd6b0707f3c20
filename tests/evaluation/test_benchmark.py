"""The benchmark compares two implementations that agree."""

from benchmarks import scoring


def test_both_implementations_agree_on_a_small_case(capsys):
    assert scoring.main(["--shape", "24", "20", "28", "--part", "24", "20", "28"]) == 0
    out = capsys.readouterr().out
    assert "both agree" in out and "times faster" in out


def test_a_disagreement_is_an_exit_code(monkeypatch):
    monkeypatch.setattr(scoring, "plain_semantic", lambda *_: (0.5, 0.5))
    assert scoring.main(["--shape", "9", "9", "9", "--part", "24", "20", "28"]) == 1
