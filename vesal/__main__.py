"""`python -m vesal`: the command, see `runner.command`."""

from vesal.inference.runner.command import run_and_leave

if __name__ == "__main__":
    run_and_leave()
