"""How well a take follows the voice: pitch classes, chords, key and beat, each beside its floor.

Every measure is taken from the take's *audio*, by means that know nothing of how it was made, and
stands beside what chance gives on the same take: the voice moved in time or transposed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice2music.chords import QUALITIES, ChordSpan, Key
from voice2music.chroma import chromagram
from voice2music.clip import Clip
from voice2music.engines.base import Conditioning, Melody
from voice2music.key import DEGREES
from voice2music.onsets import beat_f_measure, onset_strength, pulse
from voice2music.pitch import HOP
from voice2music.request import Role
from voice2music.rhythm import Grid

Array = NDArray[np.float64]
WEIGHTS: dict[Role, tuple[float, float, float, float]] = {
    # pitch, chords, key, beat: a take that plays the tune is judged by the tune, one that backs
    # the singer up by its chords and its beat.
    "tune": (0.5, 0.2, 0.1, 0.2),
    "back": (0.1, 0.5, 0.15, 0.25),
}
VERDICTS = ((0.55, "closely"), (0.35, "mostly"), (0.15, "partly"), (-1.0, "hardly"))
WORDS = {
    "closely": "Follows you closely",
    "mostly": "Mostly follows you",
    "partly": "Follows you in part",
    "hardly": "Hardly follows you",
}
NAMES = ("the tune", "the chords", "the key", "the beat")


@dataclass(frozen=True)
class Measure:
    """One measure in [0, 1] and its chance floor on the same take."""

    value: float
    floor: float

    @property
    def lift(self) -> float:
        """Share of the way from the floor to 1, in [0, 1]."""
        return max(0.0, (self.value - self.floor) / max(1 - self.floor, 1e-9))


@dataclass(frozen=True)
class Follow:
    """How well one take follows the voice.

    Args:
        pitch: share of sung frames whose pitch class the music plays most strongly.
        chords: share of the time in which the expected triad is the one heard in the music.
        key: mir_eval's weighted score of the key heard in the music against the voice's.
        beat: F-measure of the music's pulse on the voice's beats (70 ms).
        overall: the measures' lifts above their floors, weighted by role, in [0, 1]; takes are
            ordered by it.
        words: the verdict in one plain sentence.
        verdict: "closely", "mostly", "partly" or "hardly" (the page translates by it).
    """

    pitch: Measure
    chords: Measure
    key: Measure
    beat: Measure
    overall: float
    words: str
    verdict: str


def follow(music: Clip, asked: Conditioning) -> Follow:
    """Score `music` against the tune, chords, key and beats that it was to follow.

    Raises:
        ValueError: there was no melody to follow.
    """
    if asked.melody is None:
        raise ValueError("music made from words alone follows no voice")
    chroma = chromagram(music)
    measures = (
        pitch_agreement(chroma, asked.melody),
        chord_agreement(chroma, asked.chords),
        key_agreement(chroma, asked.key),
        beat_agreement(onset_strength(music), asked.grid),
    )
    weights = WEIGHTS[asked.role]
    overall = sum(w * m.lift for w, m in zip(weights, measures, strict=True))
    verdict = next(name for least, name in VERDICTS if overall >= least)
    return Follow(*measures, float(overall), _words(verdict, measures, weights), verdict)


def pitch_agreement(chroma: NDArray[np.float32], melody: Melody) -> Measure:
    """Share of sung frames whose pitch class is the music's strongest.

    Args:
        chroma: shape (12, frames), every 10 ms.
    Returns:
        The floor is the mean over the eleven wrong transpositions of the same voice.
    Source: "melody accuracy" after Wu et al., Music ControlNet, 2023.
    """
    frames = min(chroma.shape[1], len(melody.midi))
    sung = ~np.isnan(melody.midi[:frames]) & (chroma[:, :frames].max(axis=0) > 0)
    if not sung.any():
        return Measure(0.0, 0.0)
    played = chroma[:, :frames].argmax(axis=0)[sung]
    asked = np.round(melody.midi[:frames][sung]).astype(int)
    shares = [float(np.mean(played == (asked + shift) % 12)) for shift in range(12)]
    return Measure(shares[0], float(np.mean(shares[1:])))


def chord_agreement(chroma: NDArray[np.float32], chords: tuple[ChordSpan, ...]) -> Measure:
    """Share of time in which the expected chord's triad fits the music best among 24 triads.

    The floor is the mean over the eleven wrong transpositions of the same chords.
    """
    shares = np.zeros(12)
    total = 0.0
    for span in chords:
        heard = chroma[:, round(span.start / HOP) : round(span.end / HOP)].sum(axis=1)
        if heard.sum() <= 0:
            continue
        root, minor = divmod(int(_triad_fits(heard).argmax()), 2)
        expected = span.chord.root, 3 in QUALITIES[span.chord.quality]
        length = span.end - span.start
        total += length
        if bool(minor) == expected[1]:
            shares[(root - expected[0]) % 12] += length
    if total == 0:
        return Measure(0.0, 0.0)
    return Measure(float(shares[0] / total), float(shares[1:].mean() / total))


def key_agreement(chroma: NDArray[np.float32], key: Key) -> Measure:
    """mir_eval's weighted key score of the music's key; the floor is its mean over all keys."""
    heard = key_of_chroma(chroma)
    every = [Key(tonic, mode) for tonic in range(12) for mode in ("major", "minor")]
    floor = float(np.mean([weighted_key_score(key, other) for other in every]))
    if heard is None:
        return Measure(0.0, floor)
    return Measure(weighted_key_score(key, heard), floor)


def beat_agreement(strength: NDArray[np.float32], grid: Grid) -> Measure:
    """F-measure of the music's pulse on the voice's beats within 70 ms.

    The floor is the mean over the same beats moved by a quarter, a half and three quarters.
    """
    seconds = len(strength) * HOP
    found = pulse(strength, grid.tempo)
    scores = []
    for part in (0.0, 0.25, 0.5, 0.75):
        moved = np.array([grid.time_at(i + part) for i in range(len(grid.beats))])
        scores.append(beat_f_measure(found, moved[(moved >= 0) & (moved < seconds)]))
    return Measure(scores[0], float(np.mean(scores[1:])))


def weighted_key_score(reference: Key, estimated: Key) -> float:
    """1 for the same key, .5 for a fifth above, .3 for the relative, .2 for the parallel, else 0.

    Agrees with mir_eval.key.weighted_score.
    """
    up = (estimated.tonic - reference.tonic) % 12
    if estimated.mode == reference.mode:
        return {0: 1.0, 7: 0.5}.get(up, 0.0)
    relative = 9 if reference.mode == "major" else 3
    return {relative: 0.3, 0: 0.2}.get(up, 0.0)


def key_of_chroma(chroma: NDArray[np.float32]) -> Key | None:
    """The key whose profile correlates best with the mean chroma; None for silence."""
    mean = chroma.mean(axis=1)
    if mean.max() <= 0 or mean.std() == 0:
        return None
    keys = [Key(tonic, mode) for tonic in range(12) for mode in ("major", "minor")]
    profiles = [np.roll(DEGREES[key.mode], key.tonic) for key in keys]
    return keys[int(np.argmax([np.corrcoef(profile, mean)[0, 1] for profile in profiles]))]


def _triad_fits(heard: Array) -> Array:
    """How well each of C, Cm, C#, C#m, ... fits a pitch-class vector: cosine, shape (24,)."""
    templates = np.zeros((24, 12))
    for root in range(12):
        for minor in (0, 1):
            templates[2 * root + minor, [root, (root + 4 - minor) % 12, (root + 7) % 12]] = 1
    fits: Array = templates @ heard
    return fits


def _words(
    verdict: str, measures: tuple[Measure, ...], weights: tuple[float, float, float, float]
) -> str:
    """The verdict, and what is best and worst about it."""
    lifts = {name: m.lift for name, m, w in zip(NAMES, measures, weights, strict=True) if w >= 0.1}
    best, worst = max(lifts, key=lambda n: lifts[n]), min(lifts, key=lambda n: lifts[n])
    if lifts[best] - lifts[worst] < 0.2 or lifts[best] < 0.15:
        return f"{WORDS[verdict]}."
    return f"{WORDS[verdict]}: best in {best}, least in {worst}."
