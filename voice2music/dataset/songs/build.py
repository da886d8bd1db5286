"""A folder of songs to a data set that is learned from, in steps that can be stopped anywhere."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from voice2music.dataset.shards import Row
from voice2music.dataset.songs.about import About
from voice2music.dataset.songs.fingerprint import duplicates
from voice2music.dataset.songs.forgetting import SOMEBODY, forgotten
from voice2music.dataset.songs.manifest import Finished, alone, begin, check_folder, finish
from voice2music.dataset.songs.records import Refused
from voice2music.dataset.songs.refusals import Refusal
from voice2music.dataset.songs.sources import Patterns, Song, songs
from voice2music.dataset.songs.steps import Settings, SongWork
from voice2music.errors import BadRequest, CannotSave, VoiceToMusicError

log = logging.getLogger(__name__)

NO_LICENCE = (
    "no licence is known; write one into the table (or the tags), or allow songs without one"
)


@dataclass(frozen=True)
class Done:
    """One song has passed a step, or has not.

    Args:
        step: "reading" or "preparing"; done, total: songs.
        refused: why it is out, or None.
    """

    step: str
    done: int
    total: int
    refused: Refusal | None = None


Progress = Callable[[Done], None]


@dataclass(frozen=True)
class Job:
    """One song and all that its work needs; what a worker process is sent."""

    song: Song
    source: Path
    data: Path
    settings: Settings

    @property
    def work(self) -> SongWork:
        """Of the song, from what is on disk."""
        return SongWork(self.song, self.source, self.data, self.settings)


@dataclass(frozen=True)
class Outcome:
    """What became of a song: rows of its chunks (none before they are cut), or why not."""

    id: str
    rows: tuple[Row, ...] = ()
    why_not: str = ""


Work = Callable[[Job], Outcome]
Runner = Callable[[Sequence[Job], Work, int], Iterator[Outcome]]
"""Does a work for all jobs with so many workers; outcomes come in the order they are done."""


def in_processes(jobs: Sequence[Job], work: Work, workers: int) -> Iterator[Outcome]:
    """Here, or in processes of this machine; a `Runner`."""
    if workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    # Not forked: the pitch tracker's runtime has threads, which a fork would leave locked.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"))
    try:
        for future in as_completed([pool.submit(work, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise CannotSave(
            "A worker process was killed, perhaps for want of memory. What is done is kept: run "
            "the same command again, with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def build(
    source: Path,
    data: Path,
    settings: Settings,
    *,
    table: Path | None = None,
    patterns: Patterns | None = None,
    allow_unlicensed: bool = False,
    workers: int = 1,
    made_by: str = "",
    prune: bool = False,
    progress: Progress = lambda done: None,
    runner: Runner = in_processes,
) -> Finished:
    """Make or go on with a data set; what is done and still valid is not done again.

    Args:
        source: folder of songs.
        data: folder of the data set: new, empty, or one that this made.
        table, patterns: see `sources.songs`.
        allow_unlicensed: take songs of which no licence is known.
        workers: processes.
        made_by: the command, for the datasheet.
        prune: remove what was made of songs that are not in the folder any more. Their chunks are
            left out in any case; what took hours is kept.
        runner: where the work is done.
    Raises:
        BadRequest, BadManifest: bad settings, no songs, another folder's data, a bad table.
        CannotSave: disk full, no permission; nothing that was done is lost.
        MissingCheckpoint, MissingPackage, CorruptCheckpoint: of separation, CLAP or caches.
    """
    if workers < 1:
        raise BadRequest(f"At least one worker is needed, not {workers}.")
    started = time.monotonic()
    check_folder(source, data)
    found = songs(source, table, patterns)
    refused = [Refusal(song.name, "names", song.why_not) for song in found if song.why_not]
    for refusal in refused:
        progress(Done("reading", 0, len(found), refusal))
    with alone(data), _saving(data):
        begin(data)  # not before: a wrong table leaves a finished data set as it was
        # Workers may run in other folders.
        places = source.resolve(), data.resolve(), settings.resolved
        jobs = [Job(song, *places) for song in found if not song.why_not]
        read = _passed(jobs, read_song, "reading", workers, refused, progress, runner)
        about = {job.song.id: about_of(job) for job in read}
        usable = list(_usable(read, about, data, allow_unlicensed, refused, progress))
        rows: dict[str, tuple[Row, ...]] = {}
        _passed(usable, prepare_song, "preparing", workers, refused, progress, runner, rows)
        finished = finish(data, settings, found, about, rows, refused, made_by, prune)
    log.info("data set: %.0f s for %d songs", time.monotonic() - started, len(found))
    return finished


def read_song(job: Job) -> Outcome:
    """Decode, check and fingerprint; the first half of the work."""
    work = job.work
    return _outcome(job, lambda: (work.read, ())[1])


def prepare_song(job: Job) -> Outcome:
    """Everything else: take apart, judge, listen, name, cut, cache."""
    work = job.work
    return _outcome(job, lambda: tuple({**row, "named": work.named} for row in work.chunks))


def about_of(job: Job) -> About:
    """What the table says of a song that was read, and where it says nothing, its tags."""
    return job.song.about.over(About(**job.work.read["tags"]))


def _outcome(job: Job, work: Callable[[], tuple[Row, ...]]) -> Outcome:
    try:
        return Outcome(job.song.id, work())
    except Refused as why:
        return Outcome(job.song.id, why_not=str(why))
    except (VoiceToMusicError, OSError):
        raise  # not this song's own fault
    except Exception as mistake:
        # One song of a thousand must not end the build; it is tried again at the next one.
        log.exception("%s", job.song.name)
        return Outcome(job.song.id, why_not=f"a mistake of this program: {mistake!r}")


def _passed(
    jobs: Sequence[Job],
    work: Work,
    step: str,
    workers: int,
    refused: list[Refusal],
    progress: Progress,
    runner: Runner,
    rows: dict[str, tuple[Row, ...]] | None = None,
) -> list[Job]:
    """Do a half of the work for all; the songs that passed, in the order they came."""
    by_id = {job.song.id: job for job in jobs}
    passed = set()
    for number, outcome in enumerate(runner(jobs, work, workers), 1):
        refusal = None
        if outcome.why_not:
            refusal = Refusal(by_id[outcome.id].song.name, step, outcome.why_not)
            refused.append(refusal)
        else:
            passed.add(outcome.id)
            if rows is not None:
                rows[outcome.id] = outcome.rows
        progress(Done(step, number, len(jobs), refusal))
    return [job for job in jobs if job.song.id in passed]


def _usable(
    jobs: Sequence[Job],
    about: dict[str, About],
    data: Path,
    allow_unlicensed: bool,
    refused: list[Refusal],
    progress: Progress,
) -> Iterator[Job]:
    """Songs that may be used, and are not another one's copy."""

    def refuse(job: Job, step: str, why: str) -> None:
        refused.append(Refusal(job.song.name, step, why))
        progress(Done("reading", len(jobs), len(jobs), refused[-1]))

    gone = [
        job for job in jobs if forgotten(data, about[job.song.id].artist, job.work.read["sha256"])
    ]
    here = [job for job in jobs if job not in gone]
    allowed = [job for job in here if about[job.song.id].licence or allow_unlicensed]
    for job in here:
        if job not in allowed:
            refuse(job, "rights", NO_LICENCE)
    # The forgotten come first: their copies under other names go too.
    first = len(gone)
    prints = [job.work.print for job in (*gone, *allowed)]
    copies = {found.index: found.of for found in duplicates(prints)}
    for index, job in enumerate(allowed, first):
        of = copies.get(index)
        if of is None:
            yield job
        elif of < first:
            gone.append(job)
        else:
            name = allowed[of - first].song.name
            refuse(job, "duplicates", f"the same recording as '{name}'")
    for job in gone:
        about.pop(job.song.id)
        shutil.rmtree(job.work.folder)
        refused.append(Refusal(SOMEBODY, "rights", "its artist asked to be left out"))
        progress(Done("reading", len(jobs), len(jobs), refused[-1]))


@contextmanager
def _saving(data: Path) -> Iterator[None]:
    """What the disk says against writing, as our own error."""
    try:
        yield
    except OSError as error:
        raise CannotSave(
            f"The data set cannot be written to '{data}': {error.strerror or error}. What is done "
            f"is kept: make room and run the same command again."
        ) from error
