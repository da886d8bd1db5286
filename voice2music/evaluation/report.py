"""A folder of takes, measured: one table with floors, ceilings, n and intervals."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voice2music.analysis import analyse
from voice2music.chords import Key
from voice2music.clip import OWN, Clip, read, silence
from voice2music.conditioning import as_asked, conditioning, tune_of
from voice2music.correction import correct
from voice2music.engines.base import Conditioning, Engine, Melody, Rendition, Settings
from voice2music.errors import BadManifest
from voice2music.evaluation import harmony, melody, rhythm, sound
from voice2music.evaluation.intervals import Estimate, estimate
from voice2music.request import Request
from voice2music.score import weighted_key_score
from voice2music.take import read_record

log = logging.getLogger(__name__)

OTHERS = 8  # other voices that the floors are taken over
KEY_CHANCE = 2 / 24  # mir_eval's weights over all 24 keys add up to 2 (1 + .5 + .3 + .2)


@dataclass(frozen=True, eq=False)
class Case:
    """One take to be measured.

    Args:
        system: what made it (engine and checkpoint); rows of the table.
        voice: which voice it follows; takes of one voice are resampled together.
        music: the take's sound.
        asked: what it was to follow.
        ceiling: the band's "play my tune" of the same request.
    """

    system: str
    voice: str
    music: Clip
    asked: Conditioning
    ceiling: Clip


@dataclass(frozen=True)
class Row:
    """One measure of one system.

    Args:
        floor: the same takes against other voices moved to the same key; NaN with one voice.
        ceiling: the same measure on the band's renders of the same requests.
    """

    system: str
    measure: str
    value: Estimate
    floor: float
    ceiling: float


def cases(folder: Path, band: Engine) -> list[Case]:
    """Every take with a voice in `folder`, with what it was asked to follow.

    Raises:
        BadManifest: no takes there, or one whose voice file is gone.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        record = read_record(path)
        if record["input"] is None:
            log.warning("%s follows no voice and is left out", path.name)
            continue
        asked = _asked(folder, record["request"], record["input"]["file"], record["engine"])
        name = record["checkpoint"]["name"] or record["engine"]
        found.append(
            Case(
                system=f"{record['engine']} ({name})" if name != record["engine"] else name,
                voice=record["input"]["sha256"],
                music=read(folder / Path(record["music"]["file"]).name, OWN),
                asked=asked,
                ceiling=played(band, replace(asked, role="tune"), Settings(record["seed"])),
            )
        )
    if not found:
        raise BadManifest(
            f"There are no takes with a voice in '{folder}'. Make some: "
            f"voice2music make hum.wav --out {folder}"
        )
    return found


def evaluate(given: Sequence[Case]) -> list[Row]:
    """All measures of all systems, silence and noise beside them."""
    rows: list[Row] = []
    ceilings = {id(case): measures(hear(case.ceiling), case.asked) for case in given}
    tunes = {case.voice: case.asked for case in given}
    for system in dict.fromkeys(case.system for case in given):
        own = [case for case in given if case.system == system]
        rows += _rows(system, own, tunes, ceilings, lambda case: case.music)
    first = [next(case for case in given if case.voice == voice) for voice in tunes]
    rows += _rows("white noise", first, tunes, ceilings, _noise)
    rows += _rows(
        "silence", first, tunes, ceilings, lambda case: silence(case.music.seconds, 22_050)
    )
    return rows


def markdown(rows: Iterable[Row], command: str) -> str:
    """The table, under the command that makes it."""
    lines = [
        f"`{command}`",
        "",
        "| system | measure | value | 95 % interval | floor | band | takes | voices |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        e = row.value
        lines.append(
            f"| {row.system} | {row.measure} | {_number(e.mean)} | "
            f"{_number(e.low)} to {_number(e.high)} | {_number(row.floor)} | "
            f"{_number(row.ceiling)} | {e.n} | {e.groups} |"
        )
    lines += [
        "",
        "Melody accuracy: Music ControlNet's protocol (CQT, high-pass weight, lag within 150 ms); "
        "floors are the same takes against other voices moved to the same key (chance for keys). "
        "Band: the band playing the tune of the same request. Chord fit: voiced "
        "frames on a tone of the chord that librosa-triads hears, minus the mean over the wrong "
        "transpositions, so chance is 0. Tempo: librosa within 4 %, half and double allowed. "
        "Intervals: bootstrap over voices.",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, eq=False)
class Heard:
    """What the outside estimators hear in a take; each is asked once."""

    pitch_classes: NDArray[np.int64]
    chords: NDArray[np.int64]
    key: Key | None
    tempo: float
    beats: NDArray[np.float64]
    seconds: float
    sound: bool


def _rows(
    system: str,
    own: Sequence[Case],
    tunes: dict[str, Conditioning],
    ceilings: dict[int, dict[str, float]],
    music_of: Callable[[Case], Clip],
) -> list[Row]:
    """The measures of one system over its cases."""
    voices = [case.voice for case in own]
    heard = [hear(music_of(case)) for case in own]
    measured = [measures(h, case.asked) for h, case in zip(heard, own, strict=True)]
    against = [
        floors(h, case.asked, [tunes[voice] for voice in sorted(tunes) if voice != case.voice])
        for h, case in zip(heard, own, strict=True)
    ]
    return [
        Row(
            system,
            name,
            estimate([m[name] for m in measured], voices),
            _mean([f.get(name, float("nan")) for f in against]),
            _mean([ceilings[id(case)][name] for case in own]),
        )
        for name in measured[0]
    ]


def hear(music: Clip) -> Heard:
    """What the outside estimators hear in a take."""
    tempo, beats = rhythm.heard_beats(music)
    chroma = harmony.tonal_chroma(music)
    return Heard(
        pitch_classes=melody.prominent_pitch_classes(music),
        chords=harmony.heard_chords(chroma, music.seconds),
        key=harmony.heard_key(chroma),
        tempo=tempo,
        beats=beats,
        seconds=music.seconds,
        sound=sound.sound_of(music).sound,
    )


def measures(heard: Heard, asked: Conditioning) -> dict[str, float]:
    """Every measure of one take against one request."""
    tune = _melody(asked)
    beats = np.array(asked.grid.beats)
    return {
        "melody accuracy": melody.melody_accuracy(heard.pitch_classes, tune).value,
        "chord fit": harmony.chord_fit(heard.chords, tune),
        "chord accuracy": harmony.chord_accuracy(heard.chords, asked.chords),
        "key": weighted_key_score(asked.key, heard.key) if heard.key else 0.0,
        "tempo": float(rhythm.same_tempo(heard.tempo, asked.grid.tempo)),
        "beat F": rhythm.beat_f(heard.beats, beats, heard.seconds),
        "sound": float(heard.sound),
    }


def floors(heard: Heard, asked: Conditioning, others: Sequence[Conditioning]) -> dict[str, float]:
    """A take against other voices' requests, each moved to this one's tonic; for keys, chance."""
    against = [measures(heard, moved(other, asked.key)) for other in others[:OTHERS]]
    found = {name: _mean([m[name] for m in against]) for name in against[0]} if against else {}
    found.pop("sound", None)
    return found | {"key": KEY_CHANCE}


def moved(asked: Conditioning, key: Key) -> Conditioning:
    """Another request transposed so that its tonic is `key`'s."""
    up = key.tonic - asked.key.tonic
    chords = tuple(
        replace(span, chord=replace(span.chord, root=(span.chord.root + up) % 12, bass=None))
        for span in asked.chords
    )
    return replace(asked, melody=melody.moved_to_key(_melody(asked), up), chords=chords, key=key)


def _asked(folder: Path, request: object, file: str, engine: str) -> Conditioning:
    """What a recorded take was to follow, heard once more from its stored voice."""
    if not isinstance(request, dict):
        raise BadManifest("A take's JSON holds no request. Choose the .json beside a take.")
    path = folder / Path(file).name
    if not path.is_file():
        raise BadManifest(f"The voice '{path.name}' is not beside its take. Put it back.")
    asked = Request.from_json(request)
    voice = read(path, OWN)
    heard = analyse(voice, asked.guide)
    if asked.corrected:
        voice, heard = correct(voice, as_asked(asked, heard))
    return conditioning(asked, engine, tune_of(asked, heard), voice, None)


def played(engine: Engine, asked: Conditioning, settings: Settings) -> Clip:
    """An engine's own audio of a request, before any finishing."""
    for part in engine.generate(asked, settings, lambda share, words: None, lambda: False):
        if isinstance(part, Rendition):
            return part.audio
    raise AssertionError("the engine ended without a rendition")


def _noise(case: Case) -> Clip:
    samples = np.random.default_rng(0).standard_normal(round(case.music.seconds * 22_050))
    return Clip((0.1 * samples).astype(np.float32), 22_050)


def _melody(asked: Conditioning) -> Melody:
    assert asked.melody is not None, "takes without a voice are left out"
    return asked.melody


def _mean(values: Sequence[float]) -> float:
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else float("nan")


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
