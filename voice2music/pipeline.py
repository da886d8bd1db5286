"""Request in, takes out: the one function behind every door."""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from voice2music import finish, score
from voice2music.analysis import Analysis
from voice2music.chords import parse_key
from voice2music.clip import Clip
from voice2music.conditioning import Tune, as_asked, conditioning, tune_of
from voice2music.correction import correct
from voice2music.engines.base import (
    Conditioning,
    Description,
    Engine,
    Part,
    Rendition,
    Settings,
    Sounds,
)
from voice2music.engines.loading import load_engine
from voice2music.engines.running import EngineJob, at_once
from voice2music.errors import Cancelled, CannotSave, NoMelody, VoiceToMusicError
from voice2music.hearing import Hearing
from voice2music.remarks import Remark, remark
from voice2music.request import Request
from voice2music.styles import style
from voice2music.take import Made, Take, save, save_input

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Heard:
    """The voice was heard.

    Args:
        analysis: of `voice`.
        voice: what conditions the engines: cleaned, and corrected when that was asked.
        source: the same before correction.
        cleaned: in words what cleaning did, "" when nothing was done.
    """

    analysis: Analysis
    voice: Clip
    source: Clip
    cleaned: str = ""


@dataclass(frozen=True)
class Working:
    """An engine's progress: `share` in [0, 1]; `remaining` seconds, None while unknown."""

    engine: str
    variation: int
    share: float
    words: str
    remaining: float | None = None


@dataclass(frozen=True, eq=False)
class Sound:
    """The next stretch of an engine's music, before finishing."""

    engine: str
    variation: int
    audio: Clip


@dataclass(frozen=True)
class Failed:
    """An engine could not do it; the others go on."""

    engine: str
    error: VoiceToMusicError


Event = Heard | Working | Sound | Failed | Take
Load = Callable[[str, Request], Engine]
DIRECTLY = Hearing()  # which remembers nothing


def takes(
    request: Request,
    voice: Clip | None,
    out: Path,
    *,
    name: str = "take",
    load: Load | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    hearing: Hearing = DIRECTLY,
    alone: bool = False,
) -> Iterator[Event]:
    """Make every take that `request` asks for; events come as they happen.

    The band plays first whatever the order asked for: it is there in a second, and it draws the
    sketch for the cascade. An engine that fails is reported and the others go on.

    Args:
        request: what was asked.
        voice: the recording, or None to make music from words alone.
        out: folder for the takes' files; made when absent.
        name: what the files' names begin with.
        load: engine name and request to engine; the installed engines by default.
        cancelled: asked at every step of every engine.
        hearing: how the voice is cleaned and heard, for one that remembers it.
        alone: see `Settings.alone`.
    Raises:
        NoMelody: the voice holds no tune (a finding of severity "stop"); its text says why.
        BadRequest, BadChords: an unknown genre, a key or chords that cannot be read.
        CannotSave: the disk is full or the folder cannot be written.
        Cancelled: by the user. What was finished before stays on disk.
    """
    _check(request)
    job = None
    if voice is not None:
        job = hear(request, voice, cancelled, hearing)
        yield job
    load = load or partial(load_engine, cancelled=cancelled)
    work = _Work(request, job, out, name, load, cancelled, alone)
    # Chords that cannot be read are found before the first engine works.
    conditioning(request, request.engines[0], work.tune, None, None)
    yield from work.run()


def hear(
    request: Request,
    voice: Clip,
    cancelled: Callable[[], bool] = lambda: False,
    hearing: Hearing = DIRECTLY,
) -> Heard:
    """The voice cleaned as asked, heard, and corrected if that was asked.

    Raises:
        NoMelody: no tune is in it.
        Cancelled: while it was cleaned.
    """
    cleaned = hearing.cleaned(voice, request.separate, request.denoise, cancelled)
    analysis = hearing.analysed(cleaned.clip, request.guide)
    for finding in analysis.findings:
        if finding.severity == "stop":
            raise NoMelody(finding.text)
    told = " ".join(map(str, cleaned.remarks))
    if request.corrected:
        snapped, analysis = correct(cleaned.clip, as_asked(request, analysis))
        return Heard(analysis, snapped, cleaned.clip, told)
    return Heard(analysis, cleaned.clip, cleaned.clip, told)


def best_of(made: list[Take], keep: int) -> list[Take]:
    """The `keep` takes of each engine that follow the voice best, best first.

    Takes without a score (no voice) keep their order.
    """
    out: list[Take] = []
    for engine in dict.fromkeys(take.engine for take in made):
        own = [take for take in made if take.engine == engine]
        own.sort(key=lambda take: -(take.follow.overall if take.follow else 0.0))
        out.extend(own[:keep])
    return out


def _check(request: Request) -> None:
    """Find an unknown genre or key before anything is done."""
    for engine in request.engines:
        style(request.genre_of(engine))
    if request.key:
        parse_key(request.key)


def _guide_holds(request: Request, follows: Conditioning) -> Iterator[Remark]:
    """A remark where the tempo asked for gave way to the beat that was sung to."""
    grid = follows.grid
    if grid.known and request.tempo is not None and round(grid.tempo) != round(request.tempo):
        yield remark("guide_holds", sung=grid.tempo, asked=request.tempo)


class _Work:
    """One job's engines at work, one after the other, each in threads that feed a queue."""

    def __init__(
        self,
        request: Request,
        heard: Heard | None,
        out: Path,
        name: str,
        load: Load,
        cancelled: Callable[[], bool],
        alone: bool,
    ) -> None:
        self.request, self.heard, self.out, self.name = request, heard, out, name
        self.load, self.cancelled, self.alone = load, cancelled, alone
        self.tune: Tune = tune_of(request, heard.analysis if heard else None)
        self.sketches: dict[tuple[str, int], Clip] = {}  # by genre and variation
        self.input = save_input(heard.source, out, name) if heard else None

    def run(self) -> Iterator[Event]:
        """All variations of all engines. An engine that fails once is not tried again."""
        over: set[str] = set()  # failed, or all variations made
        broken: Exception | None = None
        for variation in range(self.request.variations):
            for engine in sorted(self.request.engines, key=lambda e: e != "band"):
                if engine in over:
                    continue
                try:
                    if (yield from self._made(engine, variation)):
                        over.add(engine)
                except (Cancelled, CannotSave):  # a full disk is full for all
                    raise
                except VoiceToMusicError as error:
                    over.add(engine)
                    yield Failed(engine, error)
                except Exception as error:  # our own mistake: the others go on, then it is raised
                    log.exception("%s broke", engine)
                    over.add(engine)
                    broken = error
        if broken is not None:
            raise broken

    def _made(self, name: str, variation: int) -> Generator[Event, None, bool]:
        """One take, or all of them where the engine makes them together, which it then says."""
        began = time.monotonic()
        yield Working(name, variation, 0.0, "starting")
        engine = self.load(name, self.request)
        described = engine.describe()
        together = described.together and not self.alone
        variations = range(variation, self.request.variations if together else variation + 1)
        jobs = {number: self._job(name, number, described) for number in variations}
        for number, event in at_once(engine, jobs, self.cancelled):
            if isinstance(event, Rendition):
                if name == "band":
                    self.sketches[self.request.genre_of(name), number] = event.audio
                took = time.monotonic() - began
                yield self._take(name, number, described, jobs[number], event, took)
            elif isinstance(event, Part):
                yield Sound(name, number, event.audio)
            else:
                yield Working(name, number, event.share, event.words, event.remaining)
        return together

    def _job(self, name: str, variation: int, described: Description) -> EngineJob:
        follows = self._conditioning(name, variation, described)
        return EngineJob(follows, self._settings(variation))

    def _conditioning(self, name: str, variation: int, described: Description) -> Conditioning:
        voice = self.heard.voice if self.heard else None
        sketch = self._sketch(name, variation) if self._wants_sketch(described) else None
        return conditioning(self.request, name, self.tune, voice, sketch)

    def _wants_sketch(self, described: Description) -> bool:
        """Whether the model is one that starts from the band, in whichever column it stands."""
        asked = self.request.start_from
        wanted = asked == "band" or (asked == "auto" and not described.follows_voice)
        return wanted and described.name == "audioldm"

    def _sketch(self, name: str, variation: int) -> Clip:
        """The band's audio for the cascade: of this column's genre and of this variation's seed.

        So it is the same whether or not the band was asked for itself, and when the take is made
        again alone.
        """
        wanted = self.request.genre_of(name), variation
        if wanted not in self.sketches:
            self.sketches[wanted] = self._band_sketch(*wanted)
        return self.sketches[wanted]

    def _band_sketch(self, genre: str, variation: int) -> Clip:
        """What the band would play, where it has not."""
        band = self.load("band", self.request)
        asked = replace(self.request, genre=genre, genres={})
        follows = conditioning(asked, "band", self.tune, None, None)
        for part in band.generate(
            follows, self._settings(variation), lambda share, words: None, self.cancelled
        ):
            if isinstance(part, Rendition):
                return part.audio
        raise AssertionError("the band ended without a rendition")

    def _sounds(self, described: Description, follows: Conditioning) -> Sounds | None:
        """The SoundFont that this take depends on: the band's own, or that of the sketch."""
        if follows.sketch is None:
            return described.sounds
        return self.load("band", self.request).describe().sounds

    def _settings(self, variation: int) -> Settings:
        asked = self.request
        return Settings(
            seed=asked.seed_of(variation),
            faithful=asked.faithful,
            guidance=asked.guidance,
            steps=asked.steps,
            start_from=asked.start_from,
            strength=asked.strength,
            alone=self.alone,
        )

    def _take(
        self,
        name: str,
        variation: int,
        described: Description,
        job: EngineJob,
        rendition: Rendition,
        took: float,
    ) -> Take:
        follows = job.conditioning
        notes = [*rendition.notes, *_guide_holds(self.request, follows)]
        shift = 0.0
        if rendition.grid is None:  # the band plays on the beats; the models may not
            found = finish.alignment(rendition.audio, follows.grid)
            shift = found.shift
            if not found.on_beat and self.heard is not None:
                notes.append(remark("off_beat"))
        music = finish.finished(rendition.audio, follows.seconds, shift)
        voice = self.heard.voice.cut(0, follows.seconds) if self.heard else None
        mix = None
        if voice is not None:
            levels = self.request.music_level, self.request.voice_level
            mix = finish.mixed(music, voice, *levels)
        made = Made(
            engine=name,
            variation=variation,
            request=self.request,
            description=described,
            rendition=replace(rendition, notes=tuple(notes)),
            music=music,
            voice=finish.finished(voice, follows.seconds) if voice else None,
            mix=mix,
            stems=finish.stems(rendition, music, shift),
            follow=score.follow(music, follows) if follows.melody else None,
            input_file=self.input,
            took=took,
            sounds=self._sounds(described, follows),
        )
        return save(made, self.out, self.name)
