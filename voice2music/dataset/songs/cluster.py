"""The builder's work on Ray: the same steps as Ray Data, on one machine or a cluster.

A song is one task. A task whose worker dies is given to another one, which goes on from the
records that are on disk; so the folders of songs and of the data set must be the same for all
machines, and the program installed on each.
"""

import json
import logging
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from voice2music import errors
from voice2music.dataset.songs.build import Job, Outcome, Runner, Work
from voice2music.errors import BadRequest, CannotSave, MissingPackage, VoiceToMusicError

SOON = 5.0  # s for a cluster to answer
RETRIES = 3  # of a song whose worker died: one that takes all memory must not go round for ever
OUT_OF_MEMORY = "RAY_task_oom_retries"  # Ray counts those apart, and endlessly, if nobody says more


@contextmanager
def on_ray(address: str, workers: int) -> Iterator[Runner]:
    """What does a build's work on Ray.

    Args:
        address: of a cluster ("auto" finds the one that this machine belongs to); "" starts Ray
            here, for as long as the context lasts.
        workers: how many it will be asked for.
    Raises:
        MissingPackage: Ray is not installed. BadRequest: no cluster at that address.
    """
    with _connected(address, workers) as ray:
        yield partial(_outcomes, ray)


def _outcomes(ray: Any, jobs: Sequence[Job], work: Work, workers: int) -> Iterator[Outcome]:  # noqa: ANN401
    """A `Runner`.

    Raises:
        CannotSave: a song's workers died again and again. Errors of ours: those of the work.
    """
    if not jobs:
        return
    told = json.dumps  # rows hold lists of different lengths, which tables do not

    def done(row: dict[str, Any]) -> dict[str, str]:
        return {"outcome": told(_said(jobs[row["item"]], work))}

    rows = ray.data.from_items(list(range(len(jobs))), override_num_blocks=len(jobs))
    with warnings.catch_warnings():
        # The one way to end Ray Data's endless retries is to go in 2.64, with nothing in its place.
        warnings.simplefilter("ignore", DeprecationWarning)
        made = rows.map(
            done,
            compute=ray.data.TaskPoolStrategy(min(workers, len(jobs))),
            num_cpus=1,
            ray_remote_args_fn=lambda: {"max_retries": RETRIES},
        )
    try:
        for row in made.iter_rows():
            yield _heard(json.loads(row["outcome"]))
    except ray.exceptions.RayTaskError:
        raise  # a mistake of ours, told with what the worker said
    except ray.exceptions.RayError as error:
        raise CannotSave(
            "Ray gave a song up: its workers were killed again and again, perhaps for want of "
            "memory. What is done is kept: run the same command again, with fewer --workers. "
            f"({str(error).splitlines()[0]})"
        ) from error


def _said(job: Job, work: Work) -> dict[str, Any]:
    """In a worker: an outcome or an error, in plain values."""
    try:
        made = work(job)
    except VoiceToMusicError as error:
        return {"error": type(error).__name__, "why": str(error)}
    except OSError as error:
        return {"error": "OSError", "why": error.strerror or str(error)}
    return {"id": made.id, "rows": made.rows, "why_not": made.why_not}


def _heard(said: dict[str, Any]) -> Outcome:
    """What a worker said.

    Raises:
        VoiceToMusicError, OSError: that the worker met.
    """
    if "error" in said:
        kind = getattr(errors, said["error"], OSError)
        raise kind(said["why"])
    return Outcome(said["id"], tuple(said["rows"]), said["why_not"])


@contextmanager
def _connected(address: str, workers: int) -> Iterator[Any]:
    """Ray, and its end where it was started here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault(OUT_OF_MEMORY, str(RETRIES))
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackage(
            "Ray is not installed. Run 'pip install \"ray[data]\"', or build without --engine ray."
        ) from error
    _check_address(address)
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        given |= {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address or "local", **given)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise _no_ray(address, error) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Somebody answers there: Ray itself would try for minutes.

    Raises:
        BadRequest: nobody does, or it is no host and port.
    """
    host, _, port = address.rpartition(":")
    if address in ("", "auto") or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), SOON).close()
    except (OSError, ValueError) as error:
        raise _no_ray(address, error) from error


def _no_ray(address: str, error: Exception) -> BadRequest:
    return BadRequest(
        f"There is no Ray at '{address}' ({error}). Give --cluster host:port or auto, or leave it "
        "out to start one here."
    )
