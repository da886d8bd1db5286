"""A standard MIDI file of an arrangement, with the voice's own tempo in its tempo map."""

import io
from collections.abc import Sequence
from itertools import pairwise

import mido

from voice2music.arrangement.score import Arrangement, Track
from voice2music.chords import Key, chord_symbol, key_name
from voice2music.rhythm import Grid

TICKS = 480  # per beat
AT_BEAT = 0.02  # s within which the piece's start counts as on a beat
DRUM_CHANNEL = 9
BEND_RANGE = 200  # cents, General MIDI's


class Clock:
    """Seconds to ticks, so that every beat of the grid lies on a whole beat of the file.

    Second 0 is tick 0; the stretch up to the first beat is one beat of its own tempo.
    """

    def __init__(self, grid: Grid, seconds: float) -> None:
        beats = [b for b in grid.beats if b > AT_BEAT]
        while len(beats) < 2 or beats[-1] < seconds:
            beats.append((beats[-1] if beats else 0.0) + 60 / grid.tempo)
        self.anchors = (0.0, *beats)
        first = grid.beat_at(beats[0])
        self.upbeats = (grid.downbeat - round(first) + 1) % grid.beats_per_bar
        self.beats_per_bar = grid.beats_per_bar

    def tick(self, time: float) -> int:
        """Tick of a time in seconds, 0 at least."""
        index = 0
        while index < len(self.anchors) - 2 and self.anchors[index + 1] <= time:
            index += 1
        start, end = self.anchors[index : index + 2]
        return max(0, round(TICKS * (index + (time - start) / (end - start))))


def midi_file(arrangement: Arrangement, key: Key, title: str) -> bytes:
    """The arrangement as a type 1 standard MIDI file.

    One track of tempo, metre, key and chord symbols (as markers), then one track per player, named
    after the player, the lead first; drums are on channel 10.
    """
    clock = Clock(arrangement.grid, arrangement.seconds)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    file.tracks.append(_conductor(arrangement, key, title, clock))
    channels = [c for c in range(16) if c != DRUM_CHANNEL]
    for index, track in enumerate(arrangement.tracks):
        channel = DRUM_CHANNEL if track.drums else channels[index % len(channels)]
        file.tracks.append(_player(track, channel, clock))
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def _conductor(arrangement: Arrangement, key: Key, title: str, clock: Clock) -> mido.MidiTrack:
    """Tempo, metre, key and chords."""
    timed = [(0, mido.MetaMessage("track_name", name=_latin(title)))]
    timed.append((0, mido.MetaMessage("key_signature", key=_signature(key))))
    for index, (start, end) in enumerate(pairwise(clock.anchors)):
        tempo = min(max(round((end - start) * 1e6), 1), 0xFFFFFF)
        timed.append((index * TICKS, mido.MetaMessage("set_tempo", tempo=tempo)))
    if clock.upbeats:
        timed.append((0, mido.MetaMessage("time_signature", numerator=clock.upbeats)))
    timed.append(
        (
            clock.upbeats * TICKS,
            mido.MetaMessage("time_signature", numerator=clock.beats_per_bar),
        )
    )
    for span in arrangement.chords:
        symbol = _latin(chord_symbol(span.chord, key))
        timed.append((clock.tick(span.start), mido.MetaMessage("marker", text=symbol)))
    return _in_order(timed)


def _player(track: Track, channel: int, clock: Clock) -> mido.MidiTrack:
    """One player's notes."""
    timed = [(0, mido.MetaMessage("track_name", name=_latin(track.name)))]
    program = track.instrument.program
    timed.append((0, mido.Message("program_change", channel=channel, program=program)))
    pan = round(63.5 * (1 + track.instrument.pan))
    timed.append((0, mido.Message("control_change", channel=channel, control=10, value=pan)))
    bent = 0.0
    for note in track.notes:
        on = clock.tick(note.onset)
        off = max(clock.tick(note.offset), on + 1)
        if note.bend != bent:
            wheel = round(8191 * note.bend / BEND_RANGE)
            timed.append((on, mido.Message("pitchwheel", channel=channel, pitch=wheel)))
            bent = note.bend
        key, velocity = note.midi, note.velocity
        timed.append((on, mido.Message("note_on", channel=channel, note=key, velocity=velocity)))
        timed.append((off, mido.Message("note_off", channel=channel, note=key)))
    return _in_order(timed)


def _in_order(timed: Sequence[tuple[int, mido.Message]]) -> mido.MidiTrack:
    """Messages with their absolute ticks as a track with deltas; ends come before beginnings."""
    out = mido.MidiTrack()
    now = 0
    for tick, message in sorted(timed, key=lambda m: (m[0], m[1].type == "note_on")):
        out.append(message.copy(time=tick - now))
        now = tick
    out.append(mido.MetaMessage("end_of_track", time=0))
    return out


def _signature(key: Key) -> str:
    """A key as mido spells it: "Am", "F#"."""
    name, mode = key_name(key).split()
    return name + ("m" if mode == "minor" else "")


def _latin(text: str) -> str:
    """Text as a MIDI file can hold it."""
    return text.encode("latin-1", "replace").decode("latin-1")
