"""Is it sound at all, is every take another one, and what becomes of odd voices?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.signal import butter, sosfilt

from voice2music.analysis import analyse
from voice2music.clip import Clip
from voice2music.conditioning import conditioning, tune_of
from voice2music.engines.base import Conditioning
from voice2music.evaluation import sound
from voice2music.evaluation.intervals import estimate
from voice2music.evaluation.minis.following import floor_of
from voice2music.evaluation.minis.lines import Line, mean, number, share, single
from voice2music.evaluation.minis.material import Job, Made, Studio
from voice2music.notes import Note
from voice2music.request import Request
from voice2music.singer import Singer, sing

STEADY = 6.0  # dB; a take whose level wanders more is not steady
SAME = 0.9  # correlation above which two takes count as one
SHORT = 3.0  # s of the takes that are compared with one another
GENRE = "pop"
BEAT = 0.5  # s
TUNE = (60, 62, 64, 65, 67, 67, 64, 62, 60, 64, 67, 64, 62, 65, 64, 60)  # MIDI, a beat each


def sound_lines(made: Sequence[Made], studio: Studio) -> list[Line]:
    """Shares of takes with nothing wrong, and each fault by itself; the ceiling is the band's."""
    found = [sound.sound_of(one.music) for one in made]
    asked = {(one.job.name, one.asked.role): one for one in made}
    renders = [studio.bandstand.made(one.job, one.asked.role) for one in asked.values()]
    band = [sound.sound_of(render.music) for render in renders]
    voices = [one.job.name for one in made]
    return [
        Line("Sound: neither silent, clipped nor stuck", share([s.sound for s in found], voices),
             ceiling=mean([s.sound for s in band]), target="1"),
        Line("Sound: silent blocks", estimate([s.silent for s in found], voices),
             ceiling=mean([s.silent for s in band]), target="0"),
        Line("Sound: clipped samples", estimate([s.clipped for s in found], voices),
             ceiling=mean([s.clipped for s in band]), target="0"),
        Line("Sound: power in the strongest tone", estimate([s.stuck for s in found], voices),
             ceiling=mean([s.stuck for s in band]), target="< .50 each"),
        Line(f"Sound: level steady within {STEADY:.0f} dB",
             share([s.unsteadiness <= STEADY for s in found], voices),
             ceiling=mean([s.unsteadiness <= STEADY for s in band]), target="1"),
    ]  # fmt: skip


def seeds_line(studio: Studio, job: Job, seeds: int) -> Line:
    """How many of so many seeds give takes that differ from all before them."""
    request = Request(genre=job.genre, seconds=SHORT)
    asked = conditioning(request, studio.column, tune_of(request, job.heard), job.clip, None)
    takes = [studio.raw(asked, seed).samples[0] for seed in range(seeds)]
    return Line(f"Different takes of {seeds} seeds", single(different(takes), seeds),
                1.0, float(seeds), str(seeds))  # fmt: skip


def different(takes: Sequence[np.ndarray]) -> int:
    """The takes that are unlike all before them: correlation at no delay below `SAME`."""
    loud = [take / max(float(np.linalg.norm(take)), 1e-9) for take in takes]
    twins = {b for a, b in combinations(range(len(loud)), 2) if abs(loud[a] @ loud[b]) > SAME}
    silent = {i for i, take in enumerate(loud) if not take.any()}
    return len(loud) - len(twins | (silent - {min(silent, default=0)}))


@dataclass(frozen=True, eq=False)
class Odd:
    """An odd case: a voice, or none."""

    name: str
    clip: Clip | None
    seconds: float | None = None
    wordless: bool = False


def odd_cases() -> tuple[Odd, ...]:
    """One tune as people hum it badly, and what is no tune at all."""
    return (
        Odd("in tune, 8 s", hummed(TUNE)),
        Odd("rests of a bar between phrases", hummed(TUNE, rest=4)),
        Odd("whispered", _whispered(hummed(TUNE))),
        Odd("40 cents flat", hummed(TUNE, tuning=-40.0)),
        Odd("an octave leap", hummed((*TUNE[:8], *(note + 12 for note in TUNE[8:])))),
        Odd("3 s", hummed(TUNE[:6])),
        Odd("30 s", hummed((TUNE * 4)[:60])),
        Odd("no voice, words only", None, 8.0),
        Odd("no words, voice only", hummed(TUNE), wordless=True),
    )


def odd_table(studio: Studio, pool: Sequence[Made], seeds: int) -> list[str]:
    """A row of Markdown for each odd case."""
    lines = [
        "| case | takes | sound | melody accuracy | other voices | band, coded | the app says |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + [_odd_row(case, studio, pool, seeds) for case in odd_cases()]


def _odd_row(case: Odd, studio: Studio, pool: Sequence[Made], seeds: int) -> str:
    asked, says = _asked(case, studio)
    takes = [studio.raw(asked, seed) for seed in range(seeds)]
    sounds = mean([float(sound.sound_of(take).sound) for take in takes])
    own = other = band = float("nan")
    if asked.melody is not None and case.clip is not None:
        job = Job(case.name, case.clip, analyse(case.clip), GENRE)
        made = [Made(job, GENRE, asked, take) for take in takes]
        own, other = mean([one.accuracy for one in made]), mean([floor_of(m, pool) for m in made])
        band = studio.ceiling(job).accuracy
    cells = [case.name, str(seeds), number(sounds), number(own), number(other), number(band), says]
    return f"| {' | '.join(cells)} |"


def _asked(case: Odd, studio: Studio) -> tuple[Conditioning, str]:
    """What the engine is given, and what the app would say to the voice.

    A voice that the app refuses is left out: the model is then asked with the words alone.
    """
    request = Request(genre=GENRE, seconds=case.seconds)
    heard = analyse(case.clip) if case.clip is not None else None
    stops = [f.text for f in heard.findings if f.severity == "stop"] if heard else []
    if heard is None or stops:
        request = replace(request, seconds=case.seconds or 8.0)
        asked = conditioning(request, studio.column, tune_of(request, None), None, None)
    else:
        asked = conditioning(request, studio.column, tune_of(request, heard), case.clip, None)
    if case.wordless:
        asked = replace(asked, text="")
    return asked, (stops[0] if stops else "–")


def hummed(keys: Sequence[int], rest: int = 0, tuning: float = 0.0) -> Clip:
    """The keys, a beat each, with `rest` beats of silence after every fourth."""
    notes = []
    at = 0.0
    for index, key in enumerate(keys):
        notes.append(Note(at, at + 0.9 * BEAT, key))
        at += BEAT * (1 + (rest if index % 4 == 3 else 0))
    singer = Singer(tuning=tuning, intonation=0, drift=0)
    return sing(notes, singer, rate=16_000, seed=0, seconds=max(at, SHORT))


def _whispered(voice: Clip) -> Clip:
    """A voice without pitch: noise in the band of speech under the voice's own loudness."""
    level = np.abs(voice.samples[0])
    smooth = sosfilt(butter(2, 20, fs=voice.rate, output="sos"), level)
    noise = np.random.default_rng(0).standard_normal(len(level))
    band = sosfilt(butter(2, (500, 5_000), "bandpass", fs=voice.rate, output="sos"), noise)
    return Clip((0.3 * band * np.maximum(smooth, 0)).astype(np.float32), voice.rate)
