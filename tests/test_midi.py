"""The MIDI file, read back by others' readers."""

import io

import mido
import numpy as np
import pretty_midi
import pytest
from bandroom import C_MAJOR, TUNE, notes

from voice2music.arrangement import arrange
from voice2music.chords import parse_key, parse_progression
from voice2music.midi import midi_file
from voice2music.notes import Note
from voice2music.rhythm import Grid, steady
from voice2music.styles import style


def breathing(seconds, first=0.0, downbeat=0):
    beats = [first]
    while beats[-1] < seconds:
        beats.append(beats[-1] + 0.5 * (1 + 0.2 * np.sin(len(beats) / 2)))
    return Grid(tuple(beats), downbeat, 4, 120.0)


def written(grid, seconds=16.0, name="pop", **wishes):
    chords = parse_progression("C | F | G | Am", grid, seconds)
    sung = tuple(Note(grid.time_at(o + 1), grid.time_at(o + 1.9), m - 12) for o, _, m in TUNE[:20])
    song = arrange(style(name), grid, chords, C_MAJOR, seconds, melody=sung, **wishes)
    return song, midi_file(song, C_MAJOR, "A title – with a dash")


def read(data):
    return pretty_midi.PrettyMIDI(io.BytesIO(data))


@pytest.mark.parametrize(("first", "downbeat"), [(0.0, 0), (0.3, 0), (-0.2, 2), (0.01, 1)])
def test_every_beat_of_the_voice_is_a_beat_of_the_file(first, downbeat):
    song, data = written(breathing(16.0, first, downbeat))
    ours = [b for b in song.grid.beats if 0.05 < b < 15.5]
    theirs = read(data).get_beats()
    off = [np.abs(theirs - b).min() for b in ours]
    assert max(off) < 0.002
    assert len(ours) > 20


def test_bars_start_where_the_voices_bars_start():
    song, data = written(breathing(16.0, 0.3, 2))
    theirs = read(data).get_downbeats()
    for downbeat in song.grid.downbeats:
        if 0.05 < downbeat < 15:
            assert np.abs(theirs - downbeat).min() < 0.002


def test_every_note_of_every_player_is_in_the_file_at_its_second():
    song, data = written(breathing(16.0, 0.3))
    file = read(data)
    assert [i.name for i in file.instruments] == [t.name for t in song.tracks]
    for instrument, own in zip(file.instruments, song.tracks, strict=True):
        assert instrument.is_drum == own.drums
        if not own.drums:
            assert instrument.program == own.instrument.program
        theirs = sorted((n.pitch, n.start, n.velocity) for n in instrument.notes)
        ours = sorted((n.midi, n.onset, n.velocity) for n in own.notes)
        assert len(theirs) == len(ours)
        for (pitch, start, velocity), (midi, onset, loudness) in zip(theirs, ours, strict=True):
            assert (pitch, velocity) == (midi, loudness)
            assert start == pytest.approx(onset, abs=0.003)


def test_chords_are_markers_and_the_key_is_named():
    song, data = written(steady(120, 16.0))
    file = mido.MidiFile(file=io.BytesIO(data))
    conductor = file.tracks[0]
    markers = [m.text for m in conductor if m.type == "marker"]
    assert markers[:4] == ["C", "F", "G", "Am"]
    assert [m.key for m in conductor if m.type == "key_signature"] == ["C"]
    assert file.type == 1
    flat = mido.MidiFile(file=io.BytesIO(midi_file(song, parse_key("Bbm"), "x")))
    assert [m.key for m in flat.tracks[0] if m.type == "key_signature"] == ["Bbm"]


def test_drums_are_on_channel_ten_and_no_one_else_is():
    _, data = written(steady(120, 16.0), name="orchestral")
    file = mido.MidiFile(file=io.BytesIO(data))
    for player in file.tracks[1:]:
        channels = {m.channel for m in player if hasattr(m, "channel")}
        assert channels == {9} if player.name == "Drums" else 9 not in channels
    assert len(file.tracks) > 8


def test_a_quarter_tone_is_a_bend_of_half_a_semitone():
    sung = tuple(
        Note(n.onset, n.offset, n.midi, 48.0 if i == 2 else 0.0) for i, n in enumerate(notes())
    )
    seconds = 18.0
    grid = steady(120, seconds)
    chords = parse_progression("C", grid, seconds)
    song = arrange(style("arabic"), grid, chords, C_MAJOR, seconds, melody=sung)
    lead = read(midi_file(song, C_MAJOR, "x")).instruments[0]
    bends = [(round(b.time, 2), round(b.pitch / 8191 * 200)) for b in lead.pitch_bends]
    assert bends == [
        (pytest.approx(sung[2].onset, abs=0.02), 50),
        (pytest.approx(sung[3].onset, abs=0.02), 0),
    ]
