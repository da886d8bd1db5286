"""Makes the built-in example hums: `python examples/make_examples.py` writes examples/*.flac.

The tunes are traditional or by composers dead for more than a century (and one is our own); the
voice is `voice2music.singer`'s. Nobody's recording and nobody's rights are in them.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from voice2music.clip import write
from voice2music.notes import Note
from voice2music.singer import Singer, humanised, sing

HERE = Path(__file__).parent
RATE = 24_000
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclass(frozen=True)
class Example:
    """A tune and how it is sung.

    Args:
        tune: notes as NAME[#|b]OCTAVE:BEATS, `-:BEATS` for a rest.
        tempo: beats per minute.
        singer: the voice.
        lead_in: seconds of quiet before the first note.
    """

    tune: str
    tempo: float
    singer: Singer
    lead_in: float = 0.4


EXAMPLES = {
    # Ludwig van Beethoven, 1824; hummed by a low voice, a little flat.
    "ode-to-joy": Example(
        """F#3:1 F#3:1 G3:1 A3:1  A3:1 G3:1 F#3:1 E3:1  D3:1 D3:1 E3:1 F#3:1  F#3:1.5 E3:.5 E3:2
           F#3:1 F#3:1 G3:1 A3:1  A3:1 G3:1 F#3:1 E3:1  D3:1 D3:1 E3:1 F#3:1  E3:1.5 D3:.5 D3:2""",
        116,
        Singer("hum", tuning=-18),
    ),
    # French, 18th century; a woman's "oo".
    "au-clair-de-la-lune": Example(
        """G4:1 G4:1 G4:1 A4:1  B4:2 A4:2  G4:1 B4:1 A4:1 A4:1  G4:4
           G4:1 G4:1 G4:1 A4:1  B4:2 A4:2  G4:1 B4:1 A4:1 A4:1  G4:4""",
        126,
        Singer("oo", vibrato=28),
    ),
    # English, 16th century, in three; a woman's hum, slow.
    "greensleeves": Example(
        """A3:1  C4:2 D4:1  E4:1.5 F4:.5 E4:1  D4:2 B3:1  G3:1.5 A3:.5 B3:1
           C4:2 A3:1  A3:1.5 G#3:.5 A3:1  B3:2 G#3:1  E3:2 A3:1
           C4:2 D4:1  E4:1.5 F4:.5 E4:1  D4:2 B3:1  G3:1.5 A3:.5 B3:1
           C4:1.5 B3:.5 A3:1  G#3:1.5 F#3:.5 G#3:1  A3:3""",
        132,
        Singer("hum", tuning=12, vibrato=35, scoop=90),
    ),
    # American spiritual, before 1900; a man on changing vowels, free and breathy.
    "when-the-saints": Example(
        """C3:1 E3:1 F3:1  G3:4 -:1  C3:1 E3:1 F3:1  G3:4 -:1  C3:1 E3:1 F3:1
           G3:2 E3:2  C3:2 E3:2  D3:4 -:1  E3:1 E3:1 D3:1
           C3:3 C3:1  E3:2 G3:1 G3:1  F3:3 E3:.5 F3:.5
           G3:2 E3:2  C3:2 D3:2  C3:4""",
        152,
        Singer("words", tuning=25, breath=-24, drift=12),
    ),
    # Our own; a child's "ah".
    "paper-boats": Example(
        """E5:1 G5:1 A5:1.5 G5:.5  E5:1 D5:1 E5:2  A4:1 C5:1 D5:1.5 C5:.5  A4:3 -:1
           E5:1 G5:1 A5:1.5 G5:.5  E5:1 D5:1 C5:2  D5:1 E5:.5 D5:.5 C5:1 A4:1  A4:4""",
        96,
        Singer("ah", vibrato=12, scoop=70, intonation=12),
    ),
}


def notes_of(example: Example) -> list[Note]:
    """The written tune as notes in seconds."""
    beat, notes, time = 60 / example.tempo, [], example.lead_in
    for name, beats in re.findall(r"(\S+):([\d.]+)", example.tune):
        length = float(beats) * beat
        if name != "-":
            notes.append(Note(time, time + 0.94 * length, midi(name)))
        time += length
    return notes


def midi(name: str) -> int:
    """MIDI number of a note such as "F#3" (A4 = 69)."""
    match = re.fullmatch(r"([A-G])([#b]?)(\d)", name)
    if match is None:
        raise ValueError(f"{name!r} is not a note")
    step, accidental, octave = match.groups()
    return STEPS[step] + {"#": 1, "b": -1, "": 0}[accidental] + 12 * (int(octave) + 1)


def main() -> None:
    for seed, (name, example) in enumerate(EXAMPLES.items()):
        notes = humanised(notes_of(example), seed=seed, jitter=0.012, rubato=0.015)
        clip = sing(notes, replace(example.singer, noise=-78), rate=RATE, seed=seed)
        path = write(clip, HERE / f"{name}.flac")
        print(f"{path.name}: {clip.seconds:.1f} s, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
