"""Gradients averaged over processes."""

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import run_two  # noqa: E402
from vesal.training import parallel  # noqa: E402
from vesal.training.parallel import RANK, STORE, WORLD, Group, join  # noqa: E402

SCRIPT = """
import json
from torch import nn
model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
model[0].weight.grad = torch.tensor([[1.0, 10.0]]) * (rank + 1)
if rank == 1:
    model[1].weight.grad = torch.tensor([[8.0]])
model[2].weight.requires_grad_(False)
group.send(model, 100.5 + rank)
assert group.has_sent and all(p.grad is None for p in model.parameters())
model[0].weight.grad = torch.ones(1, 2)  # of a view that is computed meanwhile
number = group.receive()
assert not group.has_sent
grads = [None if p.grad is None else p.grad.flatten().tolist() for p in model.parameters()]
agreed, threads = group.agree(0.1 + rank), torch.get_num_threads()
print(json.dumps({"number": number, "grads": grads, "agreed": agreed, "threads": threads}))
group.leave()
"""


def test_one_process_keeps_its_gradients_and_its_number() -> None:
    model, group = torch.nn.Linear(2, 1), Group(0, 1, "")
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    group.send(model, 2.5)
    assert group.receive() == 2.5
    assert model.weight.grad.tolist() == [[3.0, 4.0]]
    assert model.bias.grad.tolist() == [0.0]


def test_nothing_is_received_that_was_not_sent() -> None:
    with pytest.raises(RuntimeError, match="nothing was sent"):
        Group(0, 1, "").receive()


def test_a_process_computes_with_one_thread() -> None:
    torch.set_num_threads(2)
    Group(0, 1, "")
    assert torch.get_num_threads() == 1


def test_two_processes_share_the_mean_and_the_first_one_s_number(root: Path, tmp_path: Path) -> None:
    outs = run_two(root, tmp_path, SCRIPT)
    # (1 + 2) / 2, (10 + 20) / 2; a process without a gradient counts as 0; what is not trained gets none.
    expected = {"number": 100.5, "grads": [[1.5, 15.0], [4.0], None], "agreed": 0.1, "threads": 1}
    assert [json.loads(out) for out in outs] == [expected, expected]


def test_the_first_process_starts_the_others_with_its_own_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    groups: list[tuple[int, int, str]] = []
    monkeypatch.delenv(RANK, raising=False)
    monkeypatch.setattr(sys, "argv", ["training", "--out", "somewhere"])
    monkeypatch.setattr(parallel.subprocess, "Popen", lambda command, env: started.append((command, env)))
    monkeypatch.setattr(parallel, "Group", lambda *args: groups.append(args))
    _, others = join(3)
    assert len(others) == 2
    assert [command[1:] for command, _ in started] == [["-m", "vesal.training", "--out", "somewhere"]] * 2
    assert [(env[RANK], env[WORLD]) for _, env in started] == [("1", "3"), ("2", "3")]
    assert groups == [(0, 3, started[0][1][STORE])] and started[0][1][STORE] == started[1][1][STORE]


def test_a_process_that_was_started_joins_and_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[tuple[int, int, str]] = []
    for name, value in ((RANK, "1"), (WORLD, "4"), (STORE, "there")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parallel, "Group", lambda *args: groups.append(args))
    assert join(2)[1] == []
    assert groups == [(1, 4, "there")]
