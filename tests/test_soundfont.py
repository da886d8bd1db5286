"""The SoundFont reader and the sampler, on a SoundFont made here and on the installed one."""

import struct

import numpy as np
import pytest

from voice2music.arrangement.score import PlayedNote
from voice2music.errors import MissingPackage
from voice2music.gm import DRUMS, PROGRAMS
from voice2music.sampler import Sampler
from voice2music.soundfont import Bank, bank, carried_soundfont, soundfont

RATE = 44_100
PERIODS, LENGTH = 50, 4410  # 500 Hz for a tenth of a second, whole periods


def chunk(name, data):
    data += b"\0" * (len(data) % 2)
    return name + struct.pack("<I", len(data)) + data


def listed(name, *chunks):
    return chunk(b"LIST", name + b"".join(chunks))


def range_of(low, high):
    return low | high << 8


def soundfont_bytes(generators, root=71, correction=-21, drums=False):
    """A SoundFont of one preset: a looped 500 Hz sine, 21 cents over B4 (493.88 Hz)."""
    time = np.arange(LENGTH + 46) / RATE
    pcm = np.round(16384 * np.sin(2 * np.pi * 500 * time)).astype("<i2")
    pcm[LENGTH:] = 0
    bank_number = 128 if drums else 0
    phdr = struct.pack("<20sHHHIII", b"Sine", 0, bank_number, 0, 0, 0, 0)
    phdr += struct.pack("<20sHHHIII", b"EOP", 0, 0, 1, 0, 0, 0)
    inst = struct.pack("<20sH", b"Sine", 0) + struct.pack("<20sH", b"EOI", len(generators))
    ibag = igen = b""
    for number, zone in enumerate(generators):
        ibag += struct.pack("<HH", len(igen) // 4, 0)
        for kind, amount in [*zone, (53, 0)]:
            igen += struct.pack("<Hh", kind, np.int16(np.uint16(amount & 0xFFFF)))
        assert number < 10
    ibag += struct.pack("<HH", len(igen) // 4, 0)
    shdr = struct.pack(
        "<20sIIIIIBbHH", b"Sine", 0, LENGTH, 441, 441 * 9, RATE, root, correction, 0, 1
    )
    shdr += struct.pack("<20sIIIIIBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    pdta = listed(
        b"pdta",
        chunk(b"phdr", phdr),
        chunk(b"pbag", struct.pack("<HHHH", 0, 0, 1, 0)),
        chunk(b"pmod", bytes(10)),
        chunk(b"pgen", struct.pack("<HhHh", 41, 0, 0, 0)),
        chunk(b"inst", inst),
        chunk(b"ibag", ibag),
        chunk(b"imod", bytes(10)),
        chunk(b"igen", igen + bytes(4)),
        chunk(b"shdr", shdr),
    )
    body = b"sfbk" + listed(b"INFO", chunk(b"ifil", struct.pack("<HH", 2, 1)))
    body += listed(b"sdta", chunk(b"smpl", pcm.tobytes())) + pdta
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.fixture
def sine(tmp_path):
    """Zones of generators in, a sampler out."""

    def build(*zones, **values):
        path = tmp_path / "sine.sf2"
        path.write_bytes(soundfont_bytes(zones or [((54, 1),)], **values))
        return Sampler(Bank(path), RATE)

    return build


def frequency(sound):
    """Hz of the strongest partial, by the phase-exact peak of a long spectrum."""
    window = np.hanning(len(sound))
    spectrum = np.abs(np.fft.rfft(sound * window, 1 << 20))
    return spectrum.argmax() * RATE / (1 << 20)


def note(midi=71, velocity=127, seconds=1.0, onset=0.0, bend=0.0):
    return PlayedNote(onset, onset + seconds, midi, velocity, bend)


@pytest.mark.parametrize(("midi", "hertz"), [(69, 440.0), (81, 880.0), (57, 220.0), (60, 261.63)])
def test_every_key_sounds_at_its_equal_tempered_frequency(sine, midi, hertz):
    sound = sine().play([note(midi)], 0, seconds=1.0)
    assert frequency(sound[0][:40_000]) == pytest.approx(hertz, rel=3e-4)


def test_a_bend_is_heard_in_cents(sine):
    sound = sine().play([note(69, bend=50.0)], 0, seconds=1.0)
    assert frequency(sound[0][:40_000]) == pytest.approx(440 * 2 ** (50 / 1200), rel=3e-4)


def test_coarse_and_fine_tuning_and_another_root_move_the_pitch(sine):
    sound = sine(((54, 1), (51, 12), (52, -50))).play([note(69)], 0, seconds=1.0)
    assert frequency(sound[0][:40_000]) == pytest.approx(880 * 2 ** (-50 / 1200), rel=3e-4)
    sound = sine(((54, 1), (58, 59))).play([note(69)], 0, seconds=1.0)
    assert frequency(sound[0][:40_000]) == pytest.approx(880, rel=3e-4)


def test_a_loop_sounds_on_and_a_single_shot_ends_with_its_recording(sine):
    looped = sine().play([note(seconds=1.0)], 0, seconds=1.0)
    once = sine(((54, 0),)).play([note(seconds=1.0)], 0, seconds=1.0)
    assert np.abs(looped[0][30_000:40_000]).max() > 0.4
    assert np.abs(once[0][: LENGTH - 200]).max() > 0.4
    assert np.abs(once[0][LENGTH + 200 :]).max() == 0
    # The join of the loop makes no click: the tone's second difference stays a sine's.
    bend = np.abs(np.diff(looped[0][1000:40_000], 2)).max()
    assert bend < 1.1 * 0.5 * (2 * np.pi * 493.9 / RATE) ** 2


def test_half_the_velocity_is_twelve_decibels_softer(sine):
    loud, soft = (
        np.abs(sine().play([note(velocity=v)], 0, seconds=0.5)[0]).max() for v in (126, 63)
    )
    assert 20 * np.log10(loud / soft) == pytest.approx(12.04, abs=0.3)


def test_attenuation_counts_at_the_hardwares_four_tenths(sine):
    plain = np.abs(sine().play([note()], 0, seconds=0.5)).max()
    softer = np.abs(sine(((54, 1), (48, 200))).play([note()], 0, seconds=0.5)).max()
    assert 20 * np.log10(plain / softer) == pytest.approx(8.0, abs=0.05)


def timecents(seconds):
    return round(1200 * np.log2(seconds))


def test_the_volume_decays_a_hundred_decibels_in_the_decay_time_down_to_its_sustain(sine):
    zone = ((54, 1), (36, timecents(2.0)), (37, 300))  # 100 dB in 2 s, sustain at -30 dB
    sound = sine(zone).play([note(seconds=2.0)], 0, seconds=2.0)[0]

    def level(at):
        part = sound[round(at * RATE) : round((at + 0.02) * RATE)]
        return 20 * np.log10(np.sqrt((part**2).mean()))

    assert level(0.1) - level(0.4) == pytest.approx(15, abs=0.5)
    assert level(0.05) - level(1.5) == pytest.approx(30 - 2.5, abs=0.7)


def test_a_note_let_go_dies_away_in_its_release_time_and_without_a_click(sine):
    zone = ((54, 1), (38, timecents(1.0)))
    sound = sine(zone).play([note(seconds=0.5)], 0, seconds=2.0)[0]
    assert np.abs(sound[round(0.55 * RATE) : round(0.6 * RATE)]).max() > 0.1
    assert np.abs(sound[round(1.2 * RATE) :]).max() == 0
    assert np.abs(np.diff(sound)).max() < 1.1 * 0.5 * 2 * np.pi * 493.9 / RATE


def test_a_low_pass_takes_away_what_lies_above_it(sine):
    plain = np.abs(sine().play([note()], 0, seconds=1.0)[0][20_000:]).max()
    cents = round(1200 * np.log2(250 / 8.176))  # an octave below the tone
    dull = np.abs(sine(((54, 1), (8, cents))).play([note()], 0, seconds=1.0)[0][20_000:]).max()
    assert 20 * np.log10(plain / dull) == pytest.approx(12.3, abs=0.7)  # two-pole Butterworth


def test_a_sweep_opens_the_filter_and_then_closes_it(sine):
    cents = round(1200 * np.log2(125 / 8.176))
    zone = ((54, 1), (8, cents), (11, 4800), (28, timecents(1.0)), (29, 1000))
    sound = sine(zone).play([note(seconds=2.0)], 0, seconds=2.0)[0]
    early, late = np.abs(sound[500:3000]).max(), np.abs(sound[60_000:]).max()
    assert 20 * np.log10(early / late) > 18


def test_pan_moves_at_equal_power(sine):
    left, right = sine().play([note()], 0, seconds=0.5, pan=-1.0)
    assert np.abs(right).max() < 1e-6
    centre = sine().play([note()], 0, seconds=0.5)
    assert (left**2).sum() == pytest.approx((centre**2).sum(), rel=1e-5)


def test_keys_and_velocities_choose_their_zones(sine):
    zones = (
        ((43, range_of(0, 60)), (54, 1), (51, -12)),
        ((43, range_of(61, 127)), (44, range_of(0, 64)), (54, 1)),
        ((43, range_of(61, 127)), (44, range_of(65, 127)), (54, 1), (51, 12)),
    )
    sampler = sine(*zones)
    for midi, velocity, hertz in ((69, 50, 440), (69, 100, 880), (57, 100, 110)):
        sound = sampler.play([note(midi, velocity)], 0, seconds=1.0)
        assert frequency(sound[0][:40_000]) == pytest.approx(hertz, rel=3e-4)


def test_a_hole_in_an_instrument_is_filled_from_the_nearest_key(sine):
    zones = (((43, range_of(0, 60)), (54, 1)), ((43, range_of(72, 127)), (54, 1)))
    sound = sine(*zones).play([note(69)], 0, seconds=1.0)
    assert frequency(sound[0][:40_000]) == pytest.approx(440, rel=3e-4)


def test_a_stroke_of_a_class_chokes_the_one_before(sine):
    zones = (
        ((43, range_of(46, 46)), (54, 1), (57, 1)),
        ((43, range_of(42, 42)), (54, 0), (57, 1), (48, 1000)),
    )
    sampler = sine(*zones, drums=True)
    long = [PlayedNote(0.0, 0.1, 46, 127)]
    both = [*long, PlayedNote(0.5, 0.6, 42, 127)]
    rings = sampler.play(long, 0, drums=True, seconds=1.0)[0]
    choked = sampler.play(both, 0, drums=True, seconds=1.0)[0]
    assert np.abs(rings[round(0.7 * RATE) :]).max() > 0.02
    assert np.abs(choked[round(0.7 * RATE) :]).max() < 0.01


def test_what_is_not_a_soundfont_is_refused(tmp_path):
    path = tmp_path / "no.sf2"
    path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(MissingPackage, match=r"no\.sf2"):
        Bank(path)


def test_the_installed_soundfont_names_its_licence():
    found = soundfont()
    assert found.path.is_file()
    assert found.licence in ("MIT", "GPL-2.0")


@pytest.fixture(scope="module")
def real():
    return Sampler(bank(carried_soundfont().path), RATE)


STEADY = ("Violin", "Trumpet", "Flute", "Square Lead", "Finger Bass", "Clarinet")


@pytest.mark.parametrize("name", STEADY)
def test_real_instruments_are_in_tune(real, name):
    for midi in (45, 55, 64, 72):
        sound = real.play([note(midi, 100)], PROGRAMS.index(name), seconds=1.0).mean(axis=0)
        part = sound[8000:30_000] * np.hanning(22_000)
        power = np.abs(np.fft.rfft(part, 1 << 17)) ** 2
        autocorrelation = np.fft.irfft(power)
        expected = RATE / (440 * 2 ** ((midi - 69) / 12))
        near = np.arange(round(expected * 0.93), round(expected * 1.07) + 1)
        best = near[autocorrelation[near].argmax()]
        assert 1200 * abs(np.log2(best / expected)) < max(20, 1200 * np.log2(1 + 1 / expected))


def test_the_alto_saxophone_has_no_hole(real):
    levels = [
        np.abs(real.play([note(m, 100, 0.3)], PROGRAMS.index("Alto Sax"), seconds=0.3)).max()
        for m in range(58, 72)
    ]
    assert min(levels) > 0.2 * max(levels)


@pytest.mark.parametrize("name", DRUMS)
def test_every_drum_that_a_pattern_can_name_sounds_in_every_kit(real, name):
    for kit in (0, 25, 48):
        sound = real.play([note(DRUMS[name], 110)], kit, drums=True, seconds=0.5)
        assert np.abs(sound).max() > 0.005
