"""Clips and the door between them and files: closed forms, round trips, limits, lies."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voice2music import clip as clips
from voice2music.clip import Clip, Limits, fitted, read, silence, write
from voice2music.errors import BadAudio, TooLong


def tone(hz: float, seconds: float = 1.0, rate: int = 44_100, channels: int = 1, gain: float = 0.5):
    wave = gain * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return Clip(np.tile(wave, (channels, 1)), rate)


def strongest_hz(clip: Clip) -> float:
    """The peak of the spectrum, by parabola through the three highest bins (in dB)."""
    mono = clip.mono().samples[0]
    n = 4 * len(mono)
    decibels = 20 * np.log10(np.abs(np.fft.rfft(mono * np.hanning(len(mono)), n)) + 1e-12)
    k = int(decibels[1:-1].argmax()) + 1
    a, b, c = decibels[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * clip.rate / n


def encoded(path: Path, source: Clip, codec: str, container: str) -> Path:
    """`source` as a browser or a phone would store it."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[source.channels]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=source.rate, layout=layout)
        stream.bit_rate = 128_000
        resampler = av.AudioResampler(
            stream.codec_context.format, layout, source.rate, stream.codec_context.frame_size
        )
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(source.samples), format="fltp", layout=layout
        )
        frame.sample_rate = source.rate
        frame.pts, frame.time_base = 0, Fraction(1, source.rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


# ---------------------------------------------------------------------------------------- Clip


def test_a_clip_does_not_see_what_happens_to_the_array_it_was_made_of():
    for given_array in (np.zeros(100, np.float32), np.zeros((2, 100), np.float32), np.zeros(100)):
        clip = Clip(given_array, 8000)
        given_array[..., 3] = 1
        assert clip.peak == 0


def test_a_clip_does_not_see_changes_through_a_read_only_view_either():
    array = np.zeros(100, np.float32)
    view = array[:]
    view.flags.writeable = False
    clip = Clip(view, 8000)
    array[3] = 1
    assert clip.peak == 0


def test_a_clip_cannot_be_written_to():
    clip = Clip(np.zeros(100, np.float32), 8000)
    with pytest.raises(ValueError, match="read-only"):
        clip.samples[0, 0] = 1


def test_memory_that_nobody_can_write_to_is_not_copied():
    array = np.zeros((2, 100), np.float32)
    array.flags.writeable = False
    assert np.shares_memory(Clip(array, 8000).samples, array)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros((2, 0)), "empty"),
        (np.zeros((0, 5)), "channels, samples"),
        (np.zeros((1, 2, 3)), "channels, samples"),
        (np.float64(1.0), "channels, samples"),
        (np.array([0, 1, 2], np.int16), "32768"),
        (np.array([0.0, np.nan]), "not numbers"),
        (np.array([0.0, -np.inf]), "not numbers"),
        (np.array([0.0, 1e39]), "not numbers"),  # infinite as float32
        (np.array([0.0, 1e30]), "damaged"),  # its square would be infinite as float32
    ],
)
def test_samples_that_are_no_sound_are_refused_in_a_sentence(samples, says):
    with pytest.raises(BadAudio, match=says):
        Clip(samples, 8000)


@pytest.mark.parametrize("rate", [0, -1, 3999, 10**9])
def test_rates_that_no_recorder_has_are_refused(rate):
    with pytest.raises(BadAudio, match="sample rate"):
        Clip(np.zeros(10), rate)


def test_mono_is_the_mean_and_stereo_of_mono_is_twice_the_same():
    clip = Clip(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]), 8000)
    assert clip.mono().samples.tolist() == [[0.5, 0.5]]
    assert clip.stereo().samples.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_cut_beyond_the_ends_is_padded_with_silence():
    clip = Clip(np.arange(1, 5) / 10, 4000)
    cut = clip.cut(-2 / 4000, 6 / 4000)
    assert np.allclose(cut.samples, [[0, 0, 0.1, 0.2, 0.3, 0.4, 0, 0]])


def test_a_cut_wholly_outside_is_silence_of_the_asked_length():
    clip = Clip(np.ones(10), 4000)
    for start in (-1.0, 5.0):
        cut = clip.cut(start, start + 0.5)
        assert cut.samples.shape == (1, 2000)
        assert cut.peak == 0


def test_fitted_cuts_and_pads():
    ones = np.ones((2, 4), np.float32)
    assert fitted(ones, 2).shape == (2, 2)
    assert fitted(ones, 6).tolist() == [[1, 1, 1, 1, 0, 0]] * 2


def test_gain_is_linear_and_silence_is_silent():
    assert tone(440).scaled(2).peak == pytest.approx(1.0, abs=1e-4)
    assert silence(0.5, 8000, 2).samples.shape == (2, 4000)
    assert silence(0.5, 8000).peak == 0


@settings(max_examples=25, deadline=None)
@given(
    hz=st.floats(100, 1500),
    rate=st.sampled_from([8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000]),
    to=st.sampled_from([8000, 16000, 24000, 32000, 44100, 48000]),
    seconds=st.floats(0.3, 0.6),
)
def test_resampling_keeps_tone_level_and_length(hz, rate, to, seconds):
    before = tone(hz, seconds, rate)
    after = before.resampled(to)
    assert after.samples.shape == (1, max(1, round(before.samples.shape[1] * to / rate)))
    assert strongest_hz(after) == pytest.approx(hz, abs=1.0)
    middle = after.samples[0, len(after.samples[0]) // 4 : -len(after.samples[0]) // 4]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_a_tone_above_the_new_nyquist_vanishes_when_resampled():
    assert tone(6000, rate=44_100).resampled(8000).cut(0.2, 0.8).peak < 1e-3


# --------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize(
    ("ending", "tolerance"),
    [("wav", 1 / 32768), ("flac", 1 / 32768), ("mp3", 0.07)],
)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 32000, 44100, 48000])
def test_what_is_written_is_read_back(tmp_path, ending, tolerance, channels, rate):
    before = tone(440, 1.0, rate, channels)
    after = read(write(before, tmp_path / f"a.{ending}"))
    assert (after.rate, after.samples.shape) == (rate, before.samples.shape)
    inside = slice(rate // 10, -rate // 10)  # mp3 rings at the ends
    error = np.abs(after.samples - before.samples)[:, inside].max()
    assert error <= tolerance < 0.5 * before.peak


def test_an_mp3_of_six_channels_or_an_odd_rate_is_written_as_mp3_can(tmp_path):
    after = read(write(tone(440, 1.0, 37_800, channels=6), tmp_path / "a.mp3"))
    assert (after.rate, after.channels) == (44_100, 1)
    assert strongest_hz(after) == pytest.approx(440, abs=1)


def test_an_mp3_is_decoded_without_seams(tmp_path):
    """soundfile seeks after each block it reads, and an mp3 is wrong after a seek: recordings
    longer than one block once came back with errors as large as the signal."""
    before = tone(440, 20.0, 44_100, 2)
    after = read(write(before, tmp_path / "a.mp3"))
    assert after.samples.shape == before.samples.shape
    assert np.abs(after.samples - before.samples)[:, 4410:-4410].max() < 0.02


def test_samples_over_full_scale_are_clipped_when_written_not_wrapped(tmp_path):
    after = read(write(tone(440, gain=2.0), tmp_path / "a.wav"))
    assert after.peak <= 1.0
    assert np.mean(np.abs(after.samples) > 0.99) == pytest.approx(2 / 3, abs=0.02)  # |sin| > 1/2


def test_writing_leaves_nothing_behind_when_it_fails(tmp_path):
    with pytest.raises(BadAudio, match=r"\.wav, \.flac or \.mp3"):
        write(tone(440), tmp_path / "a.ogg")
    with pytest.raises(OSError, match="No such file"):
        write(tone(440), tmp_path / "nowhere" / "a.wav")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("codec", "container", "rate"),
    [
        ("libopus", "webm", 48_000),
        ("libopus", "ogg", 48_000),
        ("aac", "mp4", 44_100),
        ("aac", "mp4", 16_000),
        ("aac", "adts", 44_100),
        ("alac", "mp4", 44_100),
        ("libmp3lame", "mp3", 44_100),
        ("pcm_f32le", "matroska", 44_100),
        ("pcm_s16be", "aiff", 44_100),
        ("wmav2", "asf", 44_100),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_browsers_and_phones_record_decodes_to_the_tone(
    tmp_path, codec, container, rate, channels
):
    before = tone(440, 1.5, rate, channels)
    after = read(encoded(tmp_path / "recording", before, codec, container))
    assert (after.rate, after.channels) == (rate, channels)
    assert after.seconds == pytest.approx(1.5, abs=0.1)
    inside = after.cut(0.2, 1.3)
    assert strongest_hz(inside) == pytest.approx(440, abs=0.5)
    assert inside.peak == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 1 / 100),
        ("PCM_16", 1 / 32000),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-6),
        ("FLOAT", 1e-7),
        ("DOUBLE", 1e-7),
        ("ALAW", 0.02),
        ("IMA_ADPCM", 0.02),
    ],
)
def test_every_kind_of_wav_is_scaled_to_full_scale_one(tmp_path, subtype, tolerance):
    before = tone(440)
    soundfile.write(tmp_path / "a.wav", before.samples.T, before.rate, subtype=subtype)
    after = read(tmp_path / "a.wav").samples[:, : before.samples.shape[1]]
    inside = slice(1000, -1000)  # ADPCM needs a few samples to find its step
    assert np.abs(after - before.samples)[:, inside].max() <= tolerance


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 88200, 96000, 192000])
def test_every_rate_is_read_and_fast_ones_come_down_to_48_khz(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(440, 2.0, rate).samples.T, rate)
    after = read(tmp_path / "a.wav")
    assert after.rate == min(rate, 48_000)
    assert after.samples.shape[1] == pytest.approx(2 * after.rate, abs=2)
    assert strongest_hz(after) == pytest.approx(440, abs=0.2)


def test_eight_channels_at_192_khz_are_mixed_down(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(440, 1.0, 192_000, channels=8).samples.T, 192_000)
    after = read(tmp_path / "a.wav")
    assert (after.rate, after.channels) == (48_000, 1)
    assert strongest_hz(after) == pytest.approx(440, abs=0.5)
    assert after.cut(0.1, 0.9).peak == pytest.approx(0.5, rel=0.02)


def test_the_wrong_ending_does_not_matter(tmp_path):
    written = write(tone(440), tmp_path / "a.flac")
    for ending in ("wav", "mp3", "raw", "jpg", "m3u8", "sd2", "WEBM", ""):
        other = tmp_path / f"b.{ending}"
        other.write_bytes(written.read_bytes())
        assert strongest_hz(read(other)) == pytest.approx(440, abs=0.5)


def test_a_float_file_at_integer_scale_is_brought_to_full_scale(tmp_path):
    wave = tone(440).samples.T * 32768
    soundfile.write(tmp_path / "a.wav", wave, 44_100, subtype="FLOAT")
    assert read(tmp_path / "a.wav").peak == pytest.approx(1.0)


def test_tags_that_are_not_utf8_do_not_matter(tmp_path):
    path = encoded(tmp_path / "a.mp4", tone(440), "aac", "mp4")
    tagged = path.read_bytes().replace(b"Lavf", b"Lav\xff")
    path.write_bytes(tagged)
    assert strongest_hz(read(path)) == pytest.approx(440, abs=0.5)


# ------------------------------------------------------------------------------ limits and lies


def test_a_file_over_the_size_limit_is_not_opened(tmp_path):
    path = tmp_path / "big.wav"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)  # sparse: 200 MB on paper
    with pytest.raises(TooLong, match="200 MB"):
        read(path)


def test_a_recording_over_the_length_limit_is_refused_while_it_is_read(tmp_path):
    path = write(tone(440, 3.0, 8000), tmp_path / "a.wav")
    assert read(path, Limits(max_seconds=3.0)).seconds == 3.0
    with pytest.raises(TooLong, match="minutes"):
        read(path, Limits(max_seconds=2.9))


def test_an_hour_that_compresses_to_nothing_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(3600 * 8000, np.int8).astype(np.int16), 8000)
    with pytest.raises(TooLong, match="10 minutes"):
        read(tmp_path / "a.flac")


@pytest.mark.parametrize("declared", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_that_lies_about_the_length_is_not_believed(tmp_path, declared):
    path = write(tone(440), tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", declared)
    path.write_bytes(data)
    if declared <= 1:  # not even one 16-bit sample
        with pytest.raises(BadAudio, match="Record"):
            read(path)
    else:
        assert read(path).seconds <= 1.0


def test_a_truncated_recording_is_read_as_far_as_it_goes(tmp_path):
    for ending in ("wav", "flac", "mp3"):
        path = write(tone(440, 2.0), tmp_path / f"a.{ending}")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        after = read(path)
        assert 0.5 < after.seconds <= 2.0
        assert strongest_hz(after.cut(0.05, 0.5)) == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    "name",
    [
        "nothing.wav",
        "x" * 300 + ".wav",
        "nul\x00byte.wav",
        "../../../../etc/passwd\x00.wav",
        ".",
        "pipe:0",
        "http://127.0.0.1:9/a.wav",
        "data:audio/wav;base64,UklGRg==",
        "concat:a.wav|b.wav",
        "sine=frequency=440",
    ],
)
def test_names_that_are_no_file_say_so(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadAudio, match="There is no file"):
        read(name)


@pytest.mark.parametrize("name", ["concat:a|b", "http:x", "sub,,start,1,:a", "%05d.wav", "-i.wav"])
def test_a_name_with_meaning_to_ffmpeg_is_only_a_name(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoded(tmp_path / "plain", tone(440), "aac", "mp4").rename(tmp_path / name)
    assert strongest_hz(read(name)) == pytest.approx(440, abs=0.5)


def test_playlists_and_session_descriptions_open_no_other_file_and_no_network(tmp_path):
    """FFmpeg would follow the names in these; an uploaded text file would then read any file of
    the machine, or make it listen on a port (seen: an SDP file blocked for seconds)."""
    write(tone(440), tmp_path / "secret.wav")
    hostile = {
        "concat": "ffconcat version 1.0\nfile secret.wav\n",
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=audio 5004 RTP/AVP 0\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        "<Period><AdaptationSet><Representation><BaseURL>secret.wav</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>",
    }
    for kind, text in hostile.items():
        path = tmp_path / f"{kind}.wav"
        path.write_text(text)
        with pytest.raises(BadAudio, match="not audio that can be read"):
            read(path)


def test_only_demuxers_that_follow_no_names_are_allowed():
    allowed = set(clips.DEMUXERS.split(","))
    assert allowed <= {name for known in av.formats_available for name in known.split(",")}
    assert not allowed & {"concat", "hls", "dash", "sdp", "rtsp", "image2", "lavfi", "imf"}
