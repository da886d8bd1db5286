"""A product small enough to test the page with: the same functions, quick and predictable."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from voice2music.analysis import Analysis, Finding
from voice2music.chords import Chord, ChordSpan, Key
from voice2music.cleaning import Cleaned
from voice2music.clip import Clip, read, write
from voice2music.errors import Cancelled, MissingCheckpoint
from voice2music.notes import Note
from voice2music.pipeline import Event, Failed, Heard, Sound, Working
from voice2music.pitch import HOP, Pitch
from voice2music.remarks import Remark, remark
from voice2music.request import Decision, Guide, Request
from voice2music.rhythm import Grid
from voice2music.score import Follow, Measure
from voice2music.take import Take
from voice2music.ui.backend import Backend, Model

RATE = 22_050
TUNE = (60, 62, 64, 65, 67, 65, 64, 62, 60)


def free_port() -> int:
    """A port the system says nobody uses.

    Gradio takes the first free one from 7860 on, so two test processes that start a page in the
    same moment want the same one.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def hum(seconds: float = 6.0, rate: int = RATE) -> Clip:
    """A scale up and down on plain sines."""
    times = np.arange(round(seconds * rate)) / rate
    midi = np.array(TUNE)[np.minimum((times / seconds * len(TUNE)).astype(int), len(TUNE) - 1)]
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi - 69) / 12)) / rate
    return Clip(0.4 * np.sin(phase), rate)


def heard(clip: Clip, guide: Guide | None = None) -> Analysis:
    """An analysis as `hum` would get it."""
    step = clip.seconds / len(TUNE)
    notes = tuple(Note(i * step, (i + 0.95) * step, midi) for i, midi in enumerate(TUNE))
    frames = round(clip.seconds / HOP)
    index = np.minimum((np.arange(frames) * HOP / step).astype(int), len(TUNE) - 1)
    f0 = 440 * 2 ** ((np.array(TUNE)[index] - 69) / 12)
    tempo = guide.tempo if guide else 120.0
    beats = tuple(np.arange(0, clip.seconds + 60 / tempo, 60 / tempo).tolist())
    findings = (Finding("clipped", "The recording is too loud.", "warning", ()),)
    quiet = float(np.abs(clip.samples).max()) < 1e-3
    if quiet:
        findings = (Finding("silent", "Nothing is heard. Sing louder.", "stop"),)
    return Analysis(
        seconds=clip.seconds,
        pitch=Pitch(f0.astype(np.float32), np.ones(frames, np.float32)),
        tuning=0.0,
        notes=() if quiet else notes,
        key=Key(0, "major", 0.8),
        grid=Grid(beats, 0, 4, tempo, 0.9, guide is not None),
        chords=(ChordSpan(0, clip.seconds, Chord(0, "maj")),),
        voiced_share=0.9,
        loudness=-18.0,
        clipping=0.0,
        snr=40.0,
        accompaniment=0.0,
        findings=findings,
    )


class Studio:
    """Stands for the pipeline; remembers what was asked.

    Args:
        pause: seconds between two events.
        missing: engines without weights.
        notes: what every take says of itself.
    """

    def __init__(
        self, pause: float = 0.0, missing: tuple[str, ...] = (), notes: tuple[Remark, ...] = ()
    ) -> None:
        self.pause, self.missing, self.notes = pause, missing, notes
        self.asked: list[Request] = []

    def takes(
        self, request, voice, out, *, name="take", cancelled=lambda: False, load=None, hearing=None
    ):
        """The real function's signature and events."""
        self.asked.append(request)
        yield from self._events(request, voice, Path(out), cancelled)

    def _events(self, request, voice, out, cancelled) -> Iterator[Event]:
        if voice is not None:
            yield Heard(heard(voice, request.guide), voice, voice)
        for engine in request.engines:
            if engine in self.missing:
                text = f"The weights of {engine} are not here. Run 'voice2music models fetch'."
                yield Failed(engine, MissingCheckpoint(text))
                continue
            for variation in range(request.variations):
                music = _music(request, variation)
                for part in range(4):
                    if cancelled():
                        raise Cancelled("Stopped.")
                    time.sleep(self.pause)
                    yield Working(engine, variation, part / 4, "playing", (4 - part) * self.pause)
                    quarter = music.seconds / 4
                    cut = music.cut(part * quarter, (part + 1) * quarter)
                    yield Sound(engine, variation, cut)
                made = _take(engine, variation, request, music, voice, out)
                yield replace(made, notes=self.notes)


def _music(request: Request, variation: int) -> Clip:
    seconds = request.seconds or 6.0
    times = np.arange(round(seconds * 44_100)) / 44_100
    random = np.random.default_rng(request.seed + variation)
    tones = sum(np.sin(2 * np.pi * 220 * 2 ** (k / 12) * times) for k in (0, 4, 7, 12))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 2 * times)
    noise = random.normal(0, 0.02, len(times))
    return Clip((0.1 * tones * swell + noise).astype(np.float32), 44_100).stereo()


def _take(engine, variation, request, music, voice, out) -> Take:
    number = len(list(out.glob("*.json")))
    stem = out / f"{engine}-{number}"
    track = voice and write(
        voice.resampled(44_100).stereo().cut(0, music.seconds), f"{stem}.voice.wav"
    )
    record = Path(f"{stem}.json")
    record.write_text("{}", encoding="utf-8")
    midi = None
    if engine == "band":
        midi = Path(f"{stem}.mid")
        midi.write_bytes(b"MThd")
    overall = 0.9 - 0.2 * variation
    follow = Follow(
        Measure(overall, 0.1), Measure(0.7, 0.2), Measure(1.0, 0.3), Measure(0.6, 0.3),
        overall, "Follows you closely", "closely" if variation == 0 else "partly",
    )  # fmt: skip
    music_file = write(music, f"{stem}.wav")
    stems = {}
    if engine == "band":
        Path(f"{stem}.stems").mkdir()
        stems = {name: write(music, f"{stem}.stems/{name}.wav") for name in ("drums", "bass")}
    return Take(
        engine=engine,
        variation=variation,
        music=music_file,
        mix=music_file if voice else None,
        voice=track or None,
        json=record,
        seconds=music.seconds,
        took=0.5,
        made_by="mini-musicgen",
        licence="MIT",
        commercial=True,
        follow=follow if voice else None,
        stems=stems,
        midi=midi,
        chords=(ChordSpan(0, music.seconds, Chord(0, "maj")),),
    )


def fake_backend(folder: Path, studio: Studio | None = None) -> Backend:
    """A backend with one example hum in `folder`."""
    studio = studio or Studio()
    examples = {
        name: write(hum(seconds), folder / f"{name}.wav")
        for name, seconds in (("ode-to-joy", 6.0), ("greensleeves", 8.0))
    }
    return Backend(
        read=lambda path, limits: read(path, limits),
        clean=_clean,
        analyse=heard,
        correct=lambda clip, analysis: clip.scaled(0.5),
        takes=studio.takes,
        loaded=lambda column, request: True,
        together=lambda column, request: False,
        genres=lambda: {"pop": "Pop", "disco": "Disco", "rock": "Rock"},
        models=lambda: [
            Model("mini-musicgen", "musicgen", True, "MIT", True),
            Model("musicgen-melody", "musicgen", False, "CC-BY-NC-4.0", False),
            Model("mini-audioldm", "audioldm", True, "MIT", True),
        ],
        examples=examples,
    )


def _clean(clip: Clip, separate: Decision, denoise: bool, *, cancelled=None) -> Cleaned:
    if separate == "yes":
        return Cleaned(clip.scaled(0.9), (remark("separated", model="Spleeter"),), separated=True)
    return Cleaned(clip)
