"""`vesal batch`: many scans, each once; what is done and valid is left as it is."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from vesal.cluster.arguments import BatchOptions, read_options
from vesal.inference.data.errors import (
    MissingPackageError,
    ProfileError,
    RuntimeChoiceError,
    UsageError,
    VesalError,
)
from vesal.inference.output import logs
from vesal.inference.runner.command import WRONG_USAGE, limit_libraries, open_standard_streams
from vesal.inference.runner.settings import Settings
from vesal.inference.runtime.threads import limit_threads, threads_allowed

if TYPE_CHECKING:
    from vesal.cluster.job import Job
    from vesal.cluster.options import WorkerOptions
    from vesal.cluster.record import Record
    from vesal.inference.api import Model

log = logging.getLogger("vesal.batch")

MAX_TOLD = 10_000
"""Failed cases: some megabytes."""
ALL_GOOD, NOT_ALL, STOPPED, TERMINATED = 0, 1, 130, 143


def batch(arguments: Sequence[str], open_model: Callable[[Settings], Model] | None = None) -> int:
    """Run the command line and return the exit code; see the help text.

    ``open_model`` takes the place of `api.load` in this process; workers of Ray have their own.
    """
    from vesal.cluster.hiding import hide_secrets
    from vesal.cluster.places import redacted

    open_standard_streams()
    logs.set_up()
    hide_secrets()
    try:
        options = read_options(arguments)
        _set_up_logs(options.verbosity)
        limit_threads(options.settings.threads)
        limit_libraries(threads_allowed())
        return _merge(options) if options.merge else _run(options, open_model)
    except (UsageError, ProfileError, RuntimeChoiceError, MissingPackageError) as error:
        logs.log.error("%s", error)
        return WRONG_USAGE
    except Exception:  # a traceback of a store's package may hold a signed URL
        logs.log.error("the run ended early, and goes on where it was: %s", redacted(traceback.format_exc()))
        return NOT_ALL


def _set_up_logs(verbosity: int) -> None:
    """Lines of each case with `-v` alone; of the run always, but with `-q`."""
    logs.set_up(verbosity - 1)
    log.setLevel(logging.WARNING if verbosity < 0 else logging.INFO)


def _quiet_cases(verbosity: int) -> None:
    """Once it was told what of the inputs is no case: what a case warns of is in its record."""
    if verbosity <= 0:
        logs.log.setLevel(logging.ERROR)


def _run(options: BatchOptions, open_model: Callable[[Settings], Model] | None) -> int:
    """Run what is to be run. Imported here, as numpy reads its limits of threads when it is loaded."""
    from vesal.cluster.costs import with_costs
    from vesal.cluster.options import WorkerOptions
    from vesal.cluster.plain import shard_of
    from vesal.cluster.progress import Progress, Shown
    from vesal.cluster.worker import worker_name
    from vesal.inference.runner.lazy_model import check_settings
    from vesal.inference.runner.signals import Terminated, terminable

    if options.workers:
        _check_ray()
    if open_model is None:
        check_settings(options.settings)
    jobs = _jobs(options)
    _begin(options)
    mine = jobs if options.shard is None else shard_of(jobs, *options.shard)
    mine = with_costs(mine)
    worker = WorkerOptions(
        options.output, options.settings, options.instances, worker_name("plain"), options.scratch
    )
    told: dict[str, Record] = {}
    with terminable():
        try:
            with Shown(Progress(mine)) as shown:
                _carry_out(mine, options, worker, _adding(shown.add, told), open_model)
        except (KeyboardInterrupt, Terminated) as error:
            log.warning("stopped after %s; started again, it goes on there", shown.progress.text())
            return STOPPED if isinstance(error, KeyboardInterrupt) else TERMINATED
    if options.shard is not None:
        log.info("shard %d of %d: %s", *options.shard, shown.progress.text())
        return NOT_ALL if shown.progress.failed or shown.progress.fell_back else ALL_GOOD
    return _finish(options, jobs, told)


def _adding(add: Callable[[Record], None], told: dict[str, Record]) -> Callable[[Record], None]:
    """Of each record, with those of failed cases kept in ``told``: there may be no file of them."""
    from vesal.cluster.record import FAILED

    def added(record: Record) -> None:
        if record.state == FAILED and len(told) < MAX_TOLD:
            told[record.name] = record
        add(record)

    return added


def _carry_out(
    jobs: Sequence[Job],
    options: BatchOptions,
    worker: WorkerOptions,
    on_record: Callable[[Record], None],
    open_model: Callable[[Settings], Model] | None,
) -> None:
    if options.workers:
        from vesal.cluster.ray_run import run_ray
        from vesal.cluster.schedule import Limits

        limits = Limits(hang_s=options.hang_s)
        run_ray(jobs, worker, options.workers, options.ray, on_record, options.gpus, limits)
        return
    from vesal.cluster.plain import run_plain

    run_plain(jobs, worker, on_record, open_model)


def _merge(options: BatchOptions) -> int:
    """Table and page of the records: of the scans of `-i`, where it is given, else of all that are there."""
    return _finish(options, _jobs(options) if options.inputs else None)


def _jobs(options: BatchOptions) -> list[Job]:
    from vesal.cluster.sources import Asked, read_jobs

    jobs = read_jobs(options.inputs, options.output, Asked(options.prompts, options.modality))
    _quiet_cases(options.verbosity)
    return jobs


def _begin(options: BatchOptions) -> None:
    """Write what the run is, and so see whether the output can be written. Raises UsageError."""
    from vesal.cluster.finish import write_run
    from vesal.cluster.places import redacted, shown

    try:
        write_run(options.output, options.settings.weights)
    except VesalError:
        raise
    except Exception as error:  # whatever the system or a store has against it
        text = redacted(f"{type(error).__name__}: {error}")
        raise UsageError(
            f"nothing can be written to {shown(options.output)}: {text}. Give a folder, or a URL of s3, gs "
            "or az, that can be."
        ) from None


def _finish(
    options: BatchOptions, jobs: Sequence[Job] | None, told: Mapping[str, Record] | None = None
) -> int:
    """Table and page. Raises UsageError where there is no record at all, before anything is written."""
    from vesal.cluster.finish import remove_leftovers, write_results
    from vesal.cluster.places import joined, redacted, shown
    from vesal.cluster.record import FOLDER
    from vesal.cluster.store import all_records, records_of

    if jobs is None:
        records = all_records(options.output)
    else:
        records = records_of(jobs, options.output, told, options.merge)
    first = next(records, None)
    if first is None:
        raise UsageError(f"{shown(options.output)}: there is no record of a case; run `vesal batch` first.")
    where = shown(joined(options.output, FOLDER))
    try:
        remove_leftovers(jobs or (), options.output)
        summary = write_results(chain([first], records), options.output)
    except Exception as error:  # whatever the system or a store has against it
        log.error(
            "table and page cannot be written to %s: %s; see to that, and run it again, or with --merge",
            *(where, redacted(f"{type(error).__name__}: {error}")),
        )
        log.debug("%s", redacted(traceback.format_exc()))
        return NOT_ALL
    log.info("%s; table and page are in %s", summary.text(), where)
    return ALL_GOOD if summary.good == summary.total else NOT_ALL


def _check_ray() -> None:
    from importlib.util import find_spec

    if find_spec("ray") is None:  # not imported here: `ray_start` sets before what Ray reads then
        raise MissingPackageError(
            'workers need Ray; run `pip install "vesal[cluster]"`, or run in this process with --workers 0, '
            "or as an array job with --shard."
        )
