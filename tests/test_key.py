import mir_eval
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice2music.chords import Key, key_name, parse_key
from voice2music.key import estimate_key
from voice2music.notes import Note

# Traditional tunes: key, then notes as pitch and length in beats.
TUNES = {
    "Ode to Joy": (
        "D major",
        "F#4 1 F#4 1 G4 1 A4 1 A4 1 G4 1 F#4 1 E4 1 D4 1 D4 1 E4 1 F#4 1 F#4 1.5 E4 .5 E4 2 "
        "F#4 1 F#4 1 G4 1 A4 1 A4 1 G4 1 F#4 1 E4 1 D4 1 D4 1 E4 1 F#4 1 E4 1.5 D4 .5 D4 2",
    ),
    "Twinkle": (
        "C major",
        "C4 1 C4 1 G4 1 G4 1 A4 1 A4 1 G4 2 F4 1 F4 1 E4 1 E4 1 D4 1 D4 1 C4 2",
    ),
    "Auld Lang Syne": (
        "F major",
        "C4 1 F4 1.5 F4 .5 F4 1 A4 1 G4 1.5 F4 .5 G4 1 A4 1 F4 1.5 F4 .5 A4 1 C5 1 D5 3 "
        "D5 1 C5 1.5 A4 .5 A4 1 F4 1 G4 1.5 F4 .5 G4 1 A4 1 F4 1.5 D4 .5 D4 1 C4 1 F4 3",
    ),
    "Amazing Grace": (
        "G major",
        "D4 1 G4 2 B4 .5 G4 .5 B4 2 A4 1 G4 2 E4 1 D4 2 D4 1 G4 2 B4 .5 G4 .5 B4 2 A4 1 D5 5 "
        "B4 1 D5 2 B4 .5 G4 .5 B4 2 A4 1 G4 2 E4 1 D4 2 D4 1 G4 2 B4 .5 G4 .5 B4 2 A4 1 G4 5",
    ),
    "God Rest You Merry": (
        "E minor",
        "E4 1 E4 1 B4 1 B4 1 A4 1 G4 1 F#4 1 E4 1 D4 1 E4 1 F#4 1 G4 1 A4 1 B4 3 "
        "E4 1 E4 1 B4 1 B4 1 A4 1 G4 1 F#4 1 E4 1 D4 1 E4 1 F#4 1 G4 1 A4 1 B4 3 "
        "B4 1 C5 1 A4 1 B4 1 C5 1 D5 1 E5 1 B4 1 A4 1 G4 1 E4 1 F#4 1 G4 1 A4 3",
    ),
    "Greensleeves": (
        "A minor",
        "A4 1 C5 2 D5 1 E5 1.5 F5 .5 E5 1 D5 2 B4 1 G4 1.5 A4 .5 B4 1 C5 2 A4 1 A4 1.5 G#4 .5 "
        "A4 1 B4 2 G#4 1 E4 3",
    ),
    "When Johnny Comes Marching Home": (
        "G minor",
        "D4 .5 G4 1 G4 .5 G4 1 A4 .5 Bb4 1 A4 .5 Bb4 1 G4 .5 F4 1.5 D4 3 D4 .5 G4 1 G4 .5 "
        "G4 1 A4 .5 Bb4 1 A4 .5 Bb4 1 C5 .5 D5 3 Bb4 1 C5 .5 D5 1.5 D5 .5 C5 1 Bb4 .5 C5 1.5 "
        "C5 .5 Bb4 1 A4 .5 Bb4 1.5 A4 1 G4 .5 A4 1 F4 .5 G4 3",
    ),
}
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def notes_of(text, beat=0.5):
    notes, time = [], 0.3
    words = text.split()
    for name, length in zip(words[::2], words[1::2], strict=True):
        midi = 12 * (int(name[-1]) + 1) + STEPS[name[0]] + name.count("#") - name[1:].count("b")
        notes.append(Note(time, time + 0.95 * beat * float(length), midi))
        time += beat * float(length)
    return notes


def moved(notes, semitones):
    return [Note(n.onset, n.offset, n.midi + semitones) for n in notes]


def same(one: Key, other: Key) -> bool:
    return (one.tonic, one.mode) == (other.tonic, other.mode)


@pytest.mark.parametrize("name", TUNES)
def test_the_key_of_a_known_tune_is_heard(name):
    key, text = TUNES[name]
    assert key_name(estimate_key(notes_of(text))) == key


def test_known_tunes_score_high_by_mir_eval_and_their_parallel_keys_do_not():
    pairs = [(key, key_name(estimate_key(notes_of(text)))) for key, text in TUNES.values()]
    scores = [mir_eval.key.weighted_score(key, heard) for key, heard in pairs]
    swapped = [
        mir_eval.key.weighted_score(key.replace("major", "x").replace("minor", "major")
                                    .replace("x", "minor"), heard)
        for key, heard in pairs
    ]  # fmt: skip
    assert sum(scores) / len(scores) > 0.95
    assert sum(swapped) / len(swapped) < 0.3


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("tonic", range(12))
def test_a_scale_up_and_down_is_in_its_key(tonic, mode):
    scale = (0, 2, 4, 5, 7, 9, 11, 12) if mode == "major" else (0, 2, 3, 5, 7, 8, 11, 12)
    degrees = [*scale, *reversed(scale)]
    notes = [Note(i * 0.5, i * 0.5 + 0.45, 60 + tonic + d) for i, d in enumerate(degrees)]
    assert same(estimate_key(notes), Key(tonic, mode))


@given(st.sampled_from(sorted(TUNES)), st.integers(-20, 20), st.floats(0.3, 3))
def test_transposing_a_tune_transposes_its_key_and_tempo_does_not_matter(name, steps, pace):
    notes = notes_of(TUNES[name][1])
    key = estimate_key(notes)
    other = estimate_key(
        [Note(n.onset * pace, n.offset * pace, n.midi) for n in moved(notes, steps)]
    )
    assert same(other, Key((key.tonic + steps) % 12, key.mode))
    assert other.confidence == pytest.approx(key.confidence, abs=1e-6)


def test_the_same_notes_are_minor_where_the_tune_rests_on_its_sixth_degree():
    c_major = "G4 1 C5 2 E5 1 D5 1 C5 2 G4 1 E4 1 F4 1 G4 2 A4 1 B4 1 C5 4"
    a_minor = "E4 1 A4 2 C5 1 B4 1 A4 2 E4 1 C4 1 D4 1 E4 2 G4 1 B4 1 A4 4"
    assert key_name(estimate_key(notes_of(c_major))) == "C major"
    assert key_name(estimate_key(notes_of(a_minor))) == "A minor"


def test_no_notes_have_no_key_and_few_notes_hardly_one():
    assert estimate_key([]) == Key(0, "major", 0.0)
    assert 0 < estimate_key([Note(0, 1, 62)]).confidence < 0.35


def test_a_tune_is_surer_than_a_chromatic_scale():
    chromatic = [Note(i * 0.5, i * 0.5 + 0.45, 60 + i) for i in range(13)]
    tune = estimate_key(notes_of(TUNES["Amazing Grace"][1]))
    assert estimate_key(chromatic).confidence < 0.4 < 0.8 < tune.confidence


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0.06, 5), st.integers(30, 90)), max_size=60))
def test_any_notes_have_one_of_24_keys(rows):
    key = estimate_key([Note(a, a + b, midi) for a, b, midi in sorted(rows)])
    assert 0 <= key.confidence <= 1
    assert same(parse_key(key_name(key)), key)
