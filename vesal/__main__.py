"""`vesal`, also `python -m vesal`: the command, see `runner.command`; `vesal batch` is `cluster.command`."""

import sys


def main() -> None:
    """Run the command line of this process and end it with the exit code."""
    from vesal.inference.runner.command import leave, run_and_leave

    if sys.argv[1:2] == ["batch"]:
        # Only here: whoever runs a case loads nothing of it.
        from vesal.cluster.command import batch

        leave(batch(sys.argv[2:]))
    run_and_leave()


if __name__ == "__main__":
    main()
