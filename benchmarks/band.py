"""How well the band follows the voice, how long it takes, and how its styles differ.

    python benchmarks/band.py ../shared/data/vocals > benchmarks/band.md

The sounds are those that pip installs; `--installed` takes the best ones on the machine.

Voices: the real clips of the folder given (where it is there) and twenty seeded hums of the
synthetic singer, each heard by the analysis as any upload is. Everything is measured in the band's
audio by `voice2music.score`, which knows nothing of how it was made. The floors are the same takes
measured against other voices: transposed (the mean over the eleven wrong keys) and shuffled (the
next voice of the list).
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import librosa
import numpy as np

from voice2music.analysis import analyse
from voice2music.arrangement import pace
from voice2music.chroma import chromagram
from voice2music.clip import Clip, read
from voice2music.conditioning import conditioning, tune_of
from voice2music.engines.band import Band, arrangement, load
from voice2music.engines.base import Conditioning, Melody, Rendition, Settings
from voice2music.loudness import integrated_loudness
from voice2music.midi import midi_file
from voice2music.notes import Note
from voice2music.onsets import onset_strength
from voice2music.request import Request
from voice2music.score import Measure, beat_agreement, chord_agreement, pitch_agreement
from voice2music.singer import Singer, sing
from voice2music.soundfont import SoundFont, carried_soundfont, soundfont
from voice2music.styles import style, styles
from voice2music.synth import performed, played

HUMS = 20
FIRST = 100  # seed; the levels of six styles were set on hums from 0, so these are fresh
CLIPS = (
    "vocadito_1a_tagalog.flac",
    "vocadito_1b_tagalog.flac",
    "vocadito_10_english.flac",
    "sms_singing_female.flac",
    "dcs_soprano_latin.flac",
    "voco_au_clair_de_la_lune.flac",
    "voco_frere_jacques.flac",
    "derived/noisy_vocadito_1a_rain10.flac",
    "derived/humlike_vocadito_1b.flac",
)
MAJOR = (0, 2, 4, 5, 7, 9, 11)
RHYTHMS = ((1, 1, 1, 1), (1, 0.5, 0.5, 2), (1.5, 0.5, 1, 1), (2, 1, 1), (0.5, 0.5, 1, 2), (3, 1))


@dataclass(frozen=True)
class Voice:
    """A voice and where it is from."""

    name: str
    clip: Clip


@dataclass(frozen=True)
class Row:
    """What was measured for one voice in one style."""

    melody: Measure
    shuffled_melody: float
    chords: Measure
    shuffled_chords: float
    beat: Measure
    tempo_error: float


def hum(seed: int) -> Voice:
    """Eight seeded bars in a seeded key, tempo and voice."""
    chance = np.random.default_rng([seed, 20])
    tempo, tonic = chance.uniform(76, 132), int(chance.integers(48, 60))
    beat, time_, degree = 60 / tempo, 0.2, int(chance.integers(0, 5))
    notes = []
    for bar in range(8):
        for length in RHYTHMS[int(chance.integers(len(RHYTHMS)))]:
            degree = int(np.clip(degree + chance.integers(-2, 3), -3, 9))
            if bar == 7:
                degree = 0
            midi = tonic + MAJOR[degree % 7] + 12 * (degree // 7)
            notes.append(Note(time_, time_ + 0.9 * length * beat, midi))
            time_ += length * beat
    singer = Singer(tuning=float(chance.uniform(-40, 40)), drift=8, vibrato=20)
    return Voice(f"hum {seed + 1}", sing(notes, singer=singer, seed=seed))


def voices(folder: Path | None) -> list[Voice]:
    """Real clips first."""
    real = [] if folder is None else [Voice(n, read(folder / n)) for n in CLIPS]
    return [*real, *map(hum, range(FIRST, FIRST + HUMS))]


def jobs(all_voices: Sequence[Voice], role: str) -> list[Conditioning]:
    """One job per voice, the styles taken in turn."""
    names = list(styles())
    out = []
    for index, voice in enumerate(all_voices):
        request = Request(engines=("band",), genre=names[index % len(names)], role=role)
        out.append(conditioning(request, "band", tune_of(request, analyse(voice.clip)), None, None))
    return out


def rendered(band: Band, job: Conditioning, seed: int = 0) -> Rendition:
    (made,) = band.generate(job, Settings(seed=seed), lambda *_: None, lambda: False)
    assert isinstance(made, Rendition)
    return made


def tempo_error(audio: Clip, job: Conditioning) -> float:
    """Relative error of librosa's tempo against the voice's, doubles and halves forgiven."""
    mono = audio.mono().resampled(22_050).samples[0]
    start = job.grid.tempo * pace(job.grid, style(job.genre))
    found = float(np.ravel(librosa.beat.beat_track(y=mono, sr=22_050, start_bpm=start)[0])[0])
    return min(abs(found * f / start - 1) for f in (0.5, 1, 2)) if found else 1.0


def rows(band: Band, tunes: Sequence[Conditioning], backs: Sequence[Conditioning]) -> list[Row]:
    out = []
    for index, (tune, back) in enumerate(zip(tunes, backs, strict=True)):
        other = tunes[(index + 1) % len(tunes)]
        sound = rendered(band, tune).audio
        chroma = chromagram(sound)
        backed = rendered(band, back).audio
        back_chroma = chromagram(backed)
        out.append(
            Row(
                pitch_agreement(chroma, tune.melody),
                pitch_agreement(chroma, other.melody).value,
                chord_agreement(back_chroma, back.chords),
                chord_agreement(back_chroma, other.chords).value,
                beat_agreement(onset_strength(backed), back.grid),
                tempo_error(backed, back),
            )
        )
    return out


def mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}"


def follow_table(title: str, found: Sequence[Row]) -> list[str]:
    return [
        f"| {title} | {len(found)} "
        f"| {mean([r.melody.value for r in found])} | {mean([r.melody.floor for r in found])} "
        f"| {mean([r.shuffled_melody for r in found])} "
        f"| {mean([r.chords.value for r in found])} | {mean([r.chords.floor for r in found])} "
        f"| {mean([r.shuffled_chords for r in found])} "
        f"| {mean([r.beat.value for r in found])} | {mean([r.beat.floor for r in found])} "
        f"| {100 * np.median([r.tempo_error for r in found]):.1f} % |"
    ]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def fifteen_seconds(name: str) -> Conditioning:
    """A fixed tune (seed 0), 15 s at the style's tempo, as if sung to a guide beat."""
    request = Request(engines=("band",), genre=name, seconds=15.0)
    tune = tune_of(request, None)
    made = arrangement(conditioning(request, "band", tune, None, None), style(name), 0)
    notes = tuple(Note(n.onset, n.offset, n.midi) for n in made.tracks[0].notes if n.velocity >= 80)
    melody = Melody(np.full(1500, np.nan, np.float32), notes)
    return replace(conditioning(request, "band", tune, None, None), melody=melody)


def spent(job: Conditioning, font: SoundFont, seed: int) -> tuple[tuple[float, float], ...]:
    """CPU and wall seconds of each stage of one job."""
    genre = style(job.genre)
    song = arrangement(job, genre, seed)
    dry = {t.name: played(t, song.seconds, font) for t in song.tracks}
    return (
        timed(lambda: arrangement(job, genre, seed + 10)),
        timed(lambda: {t.name: played(t, song.seconds, font) for t in song.tracks}),
        timed(lambda: performed(song, genre, dry)),
        timed(lambda: midi_file(song, job.key, "x")),
    )


def stages(font: SoundFont) -> list[str]:
    """Seconds per stage over the styles, second run (sounds loaded)."""
    found = []
    for name in styles():
        job = fifteen_seconds(name)
        spent(job, font, 0)
        found.append(spent(job, font, 1))
    table = np.array(found)  # (styles, stages, cpu and wall)
    total = table.sum(axis=1)
    lines = ["| stage | CPU s, mean | CPU s, most | wall s, mean |", "|---|---|---|---|"]
    for index, stage in enumerate(("arrange", "play", "room and mix", "MIDI")):
        cpu, wall = table[:, index, 0], table[:, index, 1]
        lines.append(f"| {stage} | {cpu.mean():.2f} | {cpu.max():.2f} | {wall.mean():.2f} |")
    lines.append(
        f"| all | {total[:, 0].mean():.2f} | {total[:, 0].max():.2f} | {total[:, 1].mean():.2f} |"
    )
    return lines


def described(band: Band, name: str) -> str:
    """A style's row: tempo, onsets, drums' share of the energy, brightness, width, level."""
    made = rendered(band, fifteen_seconds(name))
    samples = made.audio.samples
    mono = made.audio.mono().samples[0]
    centroid = librosa.feature.spectral_centroid(y=mono, sr=made.audio.rate).mean()
    onsets = librosa.onset.onset_detect(y=mono, sr=made.audio.rate, units="time")
    energy = {n: float((s.samples**2).sum()) for n, s in made.stems.items()}
    drums = energy.get("Drums", 0.0) / sum(energy.values())
    side = ((samples[0] - samples[1]) ** 2).sum() / ((samples[0] + samples[1]) ** 2).sum()
    found = np.ravel(librosa.beat.beat_track(y=mono, sr=made.audio.rate)[0])[0]
    return (
        f"| {name} | {style(name).tempo:.0f} | {found:.0f} | {len(onsets) / 15:.1f} "
        f"| {drums:.2f} | {centroid:.0f} | {10 * np.log10(side):.1f} "
        f"| {integrated_loudness(made.audio):.1f} | {20 * np.log10(made.audio.peak):.1f} |"
    )


def main() -> None:
    given = [Path(a) for a in sys.argv[1:] if not a.startswith("--")]
    folder = given[0] if given else None
    font = soundfont() if "--installed" in sys.argv else carried_soundfont()
    band = load(font)
    everyone = voices(folder if folder and folder.is_dir() else None)
    found = rows(band, jobs(everyone, "tune"), jobs(everyone, "back"))
    real = len(everyone) - HUMS
    print(f"# The band\n\nSounds: {font.name}. Written by `benchmarks/band.py`.\n")
    print("## How it follows\n")
    print(
        '"Play my tune": share of sung frames whose pitch class is the strongest in the audio. '
        '"Back me up": share of the time in which the expected triad is the one heard; F-measure '
        "of the pulse on the voice's beats (70 ms; floor: the beats moved by parts of a beat); "
        "librosa's tempo against the voice's, median error, doubles and halves forgiven.\n"
    )
    print(
        "| voices | n | melody | transposed | shuffled | chords | transposed | shuffled "
        "| beat | moved | tempo error |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for title, part in (("real", found[:real]), ("synthetic hums", found[real:])):
        if part:
            print("\n".join(follow_table(title, part)))
    print("\n## Seconds for 15 s of music (one thread)\n")
    print("\n".join(stages(font)))
    print("\n## The styles\n")
    print(
        "The same made-up tune in each, 15 s. Tempo as written and as librosa hears it; onsets per "
        "second; the drums' share of the energy; spectral centroid, Hz; side against middle, dB; "
        "LUFS and peak dBFS before finishing.\n"
    )
    print(
        "| style | tempo | heard | onsets/s | drums | centroid | width | LUFS | peak |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for name in styles():
        print(described(band, name), flush=True)


if __name__ == "__main__":
    main()
