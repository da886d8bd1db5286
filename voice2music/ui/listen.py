"""Step 3 on the server: one job from "Make music" to its takes, and what is done with takes."""

import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from voice2music import pipeline
from voice2music.clip import write
from voice2music.errors import Cancelled, VoiceToMusicError
from voice2music.request import Request
from voice2music.take import Take, sha256
from voice2music.ui import cards
from voice2music.ui.backend import Backend
from voice2music.ui.choose import Choice, asked
from voice2music.ui.line import Line
from voice2music.ui.sing import stopping
from voice2music.ui.visit import Kept, Slot, Visit
from voice2music.ui.words import Said, words_in

log = logging.getLogger(__name__)

REFRESH = 0.2  # s between two pictures of a progress
TOGETHER = 4  # visitors at least whose music is made together, where a model does that
LARGEST_SEED = 2**31 - 1

View = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Job:
    """What is made in one go: the request, the voice it follows, and the columns it fills."""

    request: Request
    visit: Visit
    slots: tuple[Slot, ...]


class Listen:
    """The handlers of step 3.

    Args:
        backend: the product.
        jobs: jobs of the models at once; the band has a line of its own, so that nobody waits
            for a first sound, and so have models that make several requests' music together.
    """

    def __init__(self, backend: Backend, jobs: int) -> None:
        self.backend = backend
        self.models = Line(jobs)
        self.together = Line(max(jobs, TOGETHER))
        self.band = Line(max(jobs, 2))

    # ---- handlers --------------------------------------------------------------------------

    def make(self, visit: Visit, choice: Choice) -> Iterator[View]:
        """Fill all columns anew: the band first, then the models."""
        request = asked(choice, visit, self.backend)
        self._stop_all(visit)
        order = [name for name in cards.ORDER if name in request.engines]
        visit.slots = {name: self._slot(name, request) for name in order}
        visit.play = ""
        yield from self._watched(Job(request, visit, tuple(visit.slots.values())))

    def another(self, visit: Visit, event: View) -> Iterator[View]:
        """One more take like this one, with a seed that was not used before."""
        kept = visit.take(str(event.get("take", "")))
        used = {other.request.seed for other in visit.kept.values() if other.slot == kept.slot}
        seed = next(s for s in range(kept.request.seed + 1, LARGEST_SEED) if s not in used)
        yield from self._one_more(visit, replace(kept.request, seed=seed), kept)

    def again(self, visit: Visit, event: View) -> Iterator[View]:
        """The same take once more, and whether it is the same to the bit."""
        kept = visit.take(str(event.get("take", "")))
        before = set(visit.kept)
        yield from self._one_more(visit, kept.request, kept)
        for key in set(visit.kept) - before:
            made = visit.kept[key]
            same = sha256(made.take.music) == sha256(kept.take.music)
            visit.kept[key] = replace(made, same=same)
        yield self.view(visit)

    def cancelled(self, visit: Visit, event: View) -> View:
        """Stop a column: it shows so at once; its engine ends within a step."""
        slot = visit.slots.get(str(event.get("slot", "")))
        if slot is not None and slot.busy:
            slot.stop.set()
            slot.state = "stopped"
        return self.view(visit)

    def view(self, visit: Visit) -> View:
        """What the page shows of step 3 now."""
        return cards.stage_view(visit, self.backend)

    # ---- a job -----------------------------------------------------------------------------

    def _one_more(self, visit: Visit, request: Request, kept: Kept) -> Iterator[View]:
        slot = visit.slots.get(kept.slot)
        if slot is not None and slot.busy:
            raise Said(words_in(visit.language)("listen.still_working"))
        fresh = self._slot(kept.slot, request)
        if slot is not None and kept.name in slot.takes:
            fresh.takes = slot.takes
        visit.slots[kept.slot] = fresh
        visit.play = ""
        yield from self._watched(Job(request, visit, (fresh,)), kept)

    def _slot(self, name: str, request: Request) -> Slot:
        return Slot(name, request.genre_of(name), request.checkpoints.get(name, ""))

    def _stop_all(self, visit: Visit) -> None:
        for slot in visit.slots.values():
            slot.stop.set()

    def _watched(self, job: Job, like: Kept | None = None) -> Iterator[View]:
        """The job's pictures, not more often than the eye needs."""
        shown = 0.0
        for urgent in self._perform(job, like):
            now = time.monotonic()
            if urgent or now - shown >= REFRESH:
                shown = now
                yield self.view(job.visit)
        yield self.view(job.visit)

    def _perform(self, job: Job, like: Kept | None) -> Iterator[bool]:
        """The columns one after the other; yields after each change, True for an urgent one."""
        yield True
        for slot in job.slots:
            line = self._line(slot, job)
            try:
                with line.turn(slot.stop.is_set) as turn:
                    for slot.place in turn.places():
                        yield True
                    slot.place = 0
                    yield from self._fill(slot, job, like)
                _end(slot, "done")
            except Cancelled:
                _end(slot, "stopped")
            except VoiceToMusicError as error:
                slot.error = error
                _end(slot, "failed")
            except Exception as error:  # the wrapper's task, done here so that the others go on
                log.exception("%s broke", slot.name)
                slot.error = error
                _end(slot, "failed")
            yield True
        job.visit.said = words_in(job.visit.language)("listen.all_ready")

    def _line(self, slot: Slot, job: Job) -> Line:
        if slot.name == "band":
            return self.band
        return self.together if self.backend.together(slot.name, job.request) else self.models

    def _fill(self, slot: Slot, job: Job, like: Kept | None) -> Iterator[bool]:
        """One engine at work in its column."""
        if slot.stop.is_set():
            raise Cancelled("Stopped before it began.")
        request = replace(job.request, engines=(slot.name,))
        slot.loading = slot.name != "band" and not self.backend.loaded(slot.name, request)
        slot.state = "working"
        yield True
        visit = job.visit
        source, name = _source(visit, like)
        heard = None
        for event in self.backend.takes(
            request,
            source,
            visit.folder,
            name=name or "words",
            cancelled=slot.stop.is_set,
            hearing=self.backend.hearing(visit.memory),
        ):
            if slot.stop.is_set():
                raise Cancelled("Stopped by the visitor.")
            if isinstance(event, pipeline.Heard):
                heard = event.analysis
            elif isinstance(event, pipeline.Failed):
                raise event.error
            elif isinstance(event, Take):
                key = secrets.token_hex(6)
                visit.keep(cards.kept_of(visit, key, event, request, heard, source, name))
                slot.takes = [*slot.takes, key]
                visit.play = visit.play or key
                slot.stretches.pop(event.variation, None)
                visit.said = self._ready(slot, visit)
            elif isinstance(event, pipeline.Sound):
                stretch = write(event.audio, visit.file(".wav"))
                slot.stretches.setdefault(event.variation, []).append(stretch)
            else:
                slot.shares[event.variation] = event.share
                slot.share = sum(slot.shares.values()) / request.variations
                slot.loading = slot.loading and not self.backend.loaded(slot.name, request)
                slot.remaining = event.remaining
            yield isinstance(event, Take | pipeline.Sound)

    def _ready(self, slot: Slot, visit: Visit) -> str:
        words = words_in(visit.language)
        return words("listen.ready", title=cards.engine_title(slot, visit, words, self.backend))


def _source(visit: Visit, like: Kept | None) -> tuple[Any, str]:
    """The voice a job follows: that of the take it repeats, or the visit's own."""
    if like is not None:
        return like.source, like.voice_name
    if visit.voice is None:
        return None, ""
    if visit.voice.source is None or visit.voice.analysis is None:
        raise Said(words_in(visit.language)("listen.still_listening"))
    if why := stopping(visit.voice.analysis, words_in(visit.language)):
        raise Said(why)
    return visit.voice.source, visit.voice.name


def _end(slot: Slot, state: str) -> None:
    """A column's last state; one that the visitor stopped stays stopped."""
    slot.stretches.clear()
    if slot.busy:
        slot.state = state
