"""MusicGen-Melody: its tokens, its melody rows, its codec in pieces, and reading checkpoints.

Oracles are the library's own `generate` and `decode`, numpy, and closed forms.
"""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_musicgen import CHROMA_LENGTH, HOP, RATE, build_tiny_musicgen
from transformers import (
    EncodecConfig,
    EncodecModel,
    GenerationConfig,
    MusicgenMelodyForConditionalGeneration,
)

from voice2music.checkpoints import list_checkpoints
from voice2music.chords import ChordSpan, parse_chord
from voice2music.clip import Clip
from voice2music.engines.base import Conditioning, Melody, Part, Rendition, Settings
from voice2music.engines.musicgen import MusicGen, load
from voice2music.engines.musicgen.chroma import plain_chroma
from voice2music.engines.musicgen.codec import PieceDecoder
from voice2music.engines.musicgen.drawing import Sampling
from voice2music.engines.musicgen.engine import Window, window_starts
from voice2music.engines.musicgen.format import Format, read_format
from voice2music.engines.musicgen.loading import whole_model
from voice2music.engines.musicgen.loop import Branch, Passage, guided, written
from voice2music.engines.musicgen.rows import RowFormat, melody_rows, null_rows
from voice2music.errors import CorruptCheckpoint, MissingCheckpoint, OutOfMemory
from voice2music.harmony import Key
from voice2music.notes import Note
from voice2music.rhythm import Grid

ORIGINAL = Format().row_format(235)
GREEDY = Sampling(top_k=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_musicgen(tmp_path_factory.mktemp("musicgen") / "tiny")


@pytest.fixture(scope="module")
def engine(folder: Path) -> MusicGen:
    return load(folder, "cpu")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")


def sung(*notes: float, seconds: float = 0.5) -> Melody:
    """Notes of `seconds` each; NaN is a rest."""
    midi = np.repeat(np.array(notes, np.float32), round(seconds * 100))
    starts = [(i * seconds, int(n)) for i, n in enumerate(notes) if np.isfinite(n)]
    return Melody(midi, tuple(Note(start, start + seconds, note) for start, note in starts))


def asked(melody: Melody | None = None, **changes: object) -> Conditioning:
    usual = Conditioning(
        genre="disco",
        text="slow jazz piano",
        seconds=2.0,
        grid=Grid((0.0, 0.5, 1.0, 1.5, 2.0), 0, 4, 120.0),
        key=Key(0, "major"),
        chords=(),
        melody=melody,
    )
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def run(engine: MusicGen, job: Conditioning, settings: Settings | None = None) -> Rendition:
    *_, last = engine.generate(job, settings or Settings(), lambda s, w: None, lambda: False)
    assert isinstance(last, Rendition)
    return last


def tokens(engine: MusicGen, job: Conditioning, settings: Settings | None = None) -> torch.Tensor:
    """What the engine's decoder drew, shape (codebooks, frames)."""
    codes = torch.zeros((engine.decoder.codebooks, round(job.seconds * 25)), dtype=torch.long)
    words = engine._words(job)
    for _ in engine._steps(codes, words, job, settings or Settings(), lambda: False):
        pass
    return codes


def share_changed(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one != other).float().mean())


# Tokens


@pytest.mark.parametrize("known", [0, 12])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_greedy_tokens_equal_the_librarys(
    tmp_path: Path, channels: int, scale: float, known: int
) -> None:
    """Delays, guidance, conditioning and going on from a past are those of its generate()."""
    folder = build_tiny_musicgen(tmp_path / "tiny", channels=channels, seed=5)
    engine, model, job = load(folder, "cpu"), library(folder), asked(sung(60, 64, 67, 72))
    past = torch.randint(0, 32, (4 * channels, known), generator=torch.Generator().manual_seed(1))
    ours = torch.zeros((4 * channels, 40), dtype=torch.long)
    ours[:, :known] = past
    branches = engine.branches(job, Settings(guidance=scale))
    write(engine, branches, ours, known, GREEDY)

    text = engine._tokenizer(job.text, padding="max_length", max_length=64, return_tensors="pt")
    rows = melody_rows(job.melody, engine._form.row_format(CHROMA_LENGTH))
    theirs = library_tokens(
        model,
        **text,
        input_features=torch.from_numpy(rows)[None],
        guidance_scale=scale,
        max_new_tokens=43 - known,  # the last codebook is three steps late
        **({"decoder_input_ids": past} if known else {}),
    )
    assert len(ours[:, known:].unique()) > 3  # it is not one token for ever
    torch.testing.assert_close(ours, theirs[:, :40])


def library(folder: Path) -> MusicgenMelodyForConditionalGeneration:
    """transformers' own model of a checkpoint: the oracle."""
    return whole_model(folder, torch.float32).eval()


def write(
    engine: MusicGen,
    branches: tuple[Branch, ...],
    codes: torch.Tensor,
    known: int = 0,
    sampling: Sampling = GREEDY,
    seed: int = 0,
) -> list[int]:
    """Fill `codes`; the steps taken, after every step."""
    generator = torch.Generator().manual_seed(seed)
    passage = Passage(engine.decoder, branches, codes, known, sampling, generator)
    return list(written(engine.decoder, passage))


def library_tokens(model: torch.nn.Module, **inputs: object) -> torch.Tensor:
    """Codes that transformers' generate() hands to the codec, shape (codebooks, frames)."""
    seen: list[torch.Tensor] = []
    decode = model.audio_encoder.decode
    model.audio_encoder.decode = lambda codes, **rest: seen.append(codes) or decode(codes, **rest)
    special = {"pad_token_id": 32, "bos_token_id": 32, "decoder_start_token_id": 32}
    model.generate(**inputs, generation_config=GenerationConfig(do_sample=False, **special))
    return torch.stack([codes[0, 0] for codes in seen], dim=1).flatten(0, 1)


def test_melody_and_words_reach_the_tokens(engine: MusicGen) -> None:
    """Some versions of transformers dropped every condition at the first step (#45647).

    On the level of tokens: a tiny codec makes any two token rows sound different.
    """
    base = tokens(engine, asked(sung(60, 64, 67, 72)))
    assert share_changed(base, tokens(engine, asked(sung(61, 66, 58, 63)))) > 0.25
    other = asked(sung(60, 64, 67, 72), text="fast rock guitar")
    assert share_changed(base, tokens(engine, other)) > 0.1  # with the same seed
    assert share_changed(base, tokens(engine, asked(sung(60, 64, 67, 72)))) == 0


def test_a_first_token_already_depends_on_the_melody(engine: MusicGen) -> None:
    """Over many seeds the first tokens of two tunes must differ now and then."""
    pairs = [
        (tokens(engine, asked(tune, seconds=1.0), Settings(seed=seed))[0, 0].item())
        for tune in (sung(60, 60), sung(66, 66))
        for seed in range(20)
    ]
    assert sum(a != b for a, b in zip(pairs[:20], pairs[20:], strict=True)) >= 5


def test_negative_words_change_the_tokens_only_under_guidance(engine: MusicGen) -> None:
    plain, unwanted = asked(sung(60, 64)), asked(sung(60, 64), negative="happy drums")
    assert share_changed(tokens(engine, plain), tokens(engine, unwanted)) > 0.1
    free = Settings(guidance=1.0)
    assert share_changed(tokens(engine, plain, free), tokens(engine, unwanted, free)) == 0


def test_guiding_away_from_the_same_words_is_no_guidance(engine: MusicGen) -> None:
    """With no melody and negative = text both runs are one: u + g (c - u) = c for every g."""
    job = asked(None, negative="slow jazz piano")
    strong = tokens(engine, job, Settings(guidance=6.0))
    assert share_changed(strong, tokens(engine, job, Settings(guidance=1.0))) == 0


def test_words_and_voice_have_a_strength_each() -> None:
    """neither + w (worded - neither) + v (both - worded), a run of no weight left out."""

    def weights(words: float, voice: float) -> dict[int, float]:
        prefixes = [torch.full((1, 1), float(i)) for i in range(3)]  # both, worded, neither
        branches = guided(*prefixes, words=words, voice=voice)
        return {int(branch.prefix): branch.weight for branch in branches}

    assert weights(3.0, 3.0) == {0: 3.0, 2: -2.0}  # the usual guidance
    assert weights(1.0, 1.0) == {0: 1.0}
    assert weights(3.0, 2.0) == {0: 2.0, 1: 1.0, 2: -2.0}
    assert weights(3.0, 0.0) == {1: 3.0, 2: -2.0}
    assert weights(1.0, 2.0) == {0: 2.0, 1: -1.0}


def test_free_hears_no_tune_and_faithful_hears_it_more(engine: MusicGen) -> None:
    one, other = asked(sung(60, 64, 67, 72)), asked(sung(61, 66, 58, 63))

    def changed(faithful: float) -> float:
        settings = Settings(faithful=faithful)
        return share_changed(tokens(engine, one, settings), tokens(engine, other, settings))

    assert changed(0.0) == 0
    assert changed(0.7) > 0.25
    usual, more = (tokens(engine, one, Settings(faithful=f)) for f in (0.7, 1.0))
    assert share_changed(usual, more) > 0.1


def test_weights_that_are_not_finite_are_named(folder: Path) -> None:
    broken = load(folder, "cpu")
    with torch.no_grad():
        broken.decoder._norm.weight[0] = float("nan")
    with pytest.raises(CorruptCheckpoint, match="not finite"):
        run(broken, asked())


def test_want_of_memory_is_named(engine: MusicGen, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*inputs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(engine.decoder, "advance", full)
    with pytest.raises(OutOfMemory, match="shorter length"):
        run(engine, asked())


def test_two_jobs_at_once_do_not_disturb_each_other(engine: MusicGen) -> None:
    jobs = [(asked(sung(60, 64)), Settings(seed=1)), (asked(sung(70, 59)), Settings(seed=2))]
    alone = [run(engine, job, settings) for job, settings in jobs]
    streams = [
        engine.generate(job, settings, lambda s, w: None, lambda: False) for job, settings in jobs
    ]
    mixed = list(itertools.chain.from_iterable(itertools.zip_longest(*streams)))
    whole = [made for made in mixed if isinstance(made, Rendition)]
    for one, other in zip(alone, whole, strict=True):
        np.testing.assert_array_equal(one.audio.samples, other.audio.samples)


# Long pieces


@given(st.integers(1, 5000), st.integers(9, 1500), st.data())
def test_windows_cover_every_frame_once(frames: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window // 2))
    windows = window_starts(frames, window, overlap)
    fresh = [i for w in windows for i in range(w.start + w.known, w.end)]
    assert fresh == list(range(frames))
    assert all(0 < w.end - w.start <= window for w in windows)


def test_a_two_minute_piece_is_six_windows_of_the_original() -> None:
    windows = window_starts(6000, 1500, 500)
    assert windows[:2] == (Window(0, 1500, 0), Window(1000, 2500, 500))
    assert len(windows) == 6


def test_a_long_piece_goes_on_from_its_past_and_reads_the_tune_where_it_is(
    engine: MusicGen,
) -> None:
    """Windows are 2 s here, the tune changes at 3 s: what was made before that stays."""
    tune = sung(60, 64, 67, 72, 60, 64, 67, 72, 60, 64)
    changed = sung(60, 64, 67, 72, 60, 64, 61, 66, 58, 63)
    one, other = (tokens(engine, asked(t, seconds=5.0)) for t in (tune, changed))
    first_window = 2 * 25
    assert share_changed(one[:, :first_window], other[:, :first_window]) == 0
    assert share_changed(one[:, 3 * 25 :], other[:, 3 * 25 :]) > 0.25


def test_the_past_of_a_window_shapes_its_future(engine: MusicGen) -> None:
    job = asked(sung(60, 64, 67, 72))
    branches = engine.branches(job, Settings())
    ends = []
    for past in (3, 17):
        codes = torch.full((4, 40), past)
        taken = write(engine, branches, codes, 20, Sampling())
        assert taken == list(range(1, 24))  # 20 frames to go, the last codebook 3 steps late
        assert (codes[:, :20] == past).all()
        ends.append(codes[:, 20:])
    assert share_changed(*ends) > 0.2


def test_sound_comes_before_the_end(engine: MusicGen) -> None:
    shares: list[float] = []
    stream = engine.generate(
        asked(sung(60, 64), seconds=8.0), Settings(), lambda s, w: shares.append(s), lambda: False
    )
    first = next(stream)
    assert isinstance(first, Part)
    assert first.audio.seconds > 0.3
    assert shares[-1] < 0.5
    stream.close()


# The codec in pieces


@pytest.mark.parametrize(("causal", "channels"), [(False, 1), (False, 2), (True, 1)])
def test_pieces_equal_the_whole(causal: bool, channels: int) -> None:
    """With the original's strides; causal codecs see further back."""
    torch.manual_seed(1)
    config = EncodecConfig(
        sampling_rate=32_000,
        hidden_size=8,
        num_filters=2,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=16,
        target_bandwidths=[0.8],
        use_causal_conv=causal,
        num_residual_layers=3,
    )
    codec = EncodecModel(config).eval()
    for layer in codec.quantizer.layers:
        layer.codebook.embed.normal_(std=3.0)
    books = 4 * channels
    codes = torch.randint(0, 16, (books, 150))
    sides = [codes[side::channels][None, None] for side in range(channels)]
    with torch.no_grad():
        whole = torch.cat([codec.decode(s, [None]).audio_values[0] for s in sides]).numpy()
    decoder = PieceDecoder(codec, channels)
    pieces = [decoder.push(codes[:, :n]) for n in (1, 5, 40, 41, 93, 149)]
    pieces.append(decoder.push(codes, final=True))
    joined = np.concatenate(pieces, axis=1)
    assert whole.std() > 1e-3
    np.testing.assert_allclose(joined, whole, atol=1e-3 * whole.std())
    assert sum(piece.shape[1] > 0 for piece in pieces) >= 3


# Melody rows


def test_a_scale_is_one_pitch_class_after_the_other() -> None:
    scale = (60, 62, 64, 65, 67, 69, 71, 72)
    rows = melody_rows(sung(*scale, seconds=1.0), Format().row_format(63))
    middles = np.round((np.arange(8) + 0.5) * 7.8125).astype(int)
    assert rows[middles].argmax(axis=1).tolist() == [note % 12 for note in scale]
    np.testing.assert_array_equal(rows.sum(axis=1), 1)


def test_rests_keep_the_last_note_and_the_start_waits_on_the_first() -> None:
    nan = float("nan")
    rows = melody_rows(sung(nan, 64, nan, nan, 67, seconds=1.0), Format().row_format(60))
    played = rows.argmax(axis=1)
    assert set(played[: round(3.7 * 7.8125)]) == {4}  # E throughout: before, in and after it
    assert set(played[round(4.3 * 7.8125) :]) == {7}  # G, and on after the end
    assert 0 not in played  # nowhere the phantom C of silent frames


@given(
    st.lists(st.integers(40, 80) | st.just(float("nan")), min_size=1, max_size=12),
    st.integers(1, 11),
)
def test_transposing_the_tune_turns_the_rows(notes: list[float], by: int) -> None:
    melody, higher = sung(*notes), sung(*(note + by for note in notes))
    form = Format().row_format(40)
    if all(np.isnan(notes)):
        np.testing.assert_array_equal(melody_rows(melody, form), null_rows(form))
    else:
        expected = np.roll(melody_rows(melody, form), by, axis=1)
        np.testing.assert_array_equal(melody_rows(higher, form), expected)


def test_a_singer_a_third_of_a_semitone_off_within_vibrato_stays_on_the_note() -> None:
    time = np.arange(400) / 100
    midi = (64.1 + 0.39 * np.sin(2 * np.pi * 5.5 * time)).astype(np.float32)
    assert set(melody_rows(Melody(midi, ()), Format().row_format(31)).argmax(axis=1)) == {4}


def test_no_melody_is_row_zero() -> None:
    rows = null_rows(ORIGINAL)
    assert rows.shape == (235, 12)
    assert (rows[:, 0] == 1).all()
    assert rows.sum() == 235
    np.testing.assert_array_equal(melody_rows(None, ORIGINAL), rows)


def test_more_rows_tell_octave_onset_and_rests() -> None:
    form = RowFormat(50.0, 100, 0.02, ("chroma", "octave", "onset", "voicing"))
    rows = melody_rows(sung(60, float("nan"), 72, 72, seconds=0.5), form)
    assert rows.shape == (100, 20)
    octave = rows[:, 12:18].argmax(axis=1) + 2
    assert set(octave[:49]) == {4}  # C4 is MIDI 60, and is held in the rest
    assert set(octave[52:]) == {5}
    assert np.flatnonzero(rows[:, 18]).tolist() == [0, 50, 75]
    assert rows[5:20, 19].tolist() == [1] * 15
    assert rows[30:45, 19].tolist() == [0] * 15
    # A rest is told from "no melody" by what is held, a C from the null by its voicing.
    assert not np.array_equal(rows[:10], null_rows(form)[:10])


def test_rows_can_begin_in_the_middle_of_the_tune() -> None:
    melody, form = sung(60, 62, 64, 65, 67, 69), RowFormat(25.0, 80, 0.04)
    whole = melody_rows(melody, form)
    np.testing.assert_array_equal(
        melody_rows(melody, dataclasses.replace(form, frames=40), start=1.0), whole[25:65]
    )


def test_tracked_rows_say_what_the_original_extractor_hears_in_a_clean_voice() -> None:
    """A sawtooth on the same notes, a semitone apart at most twice a second."""
    notes = (60, 62, 64, 67, 65, 69, 70, 71, 66, 61)
    melody = sung(*notes, seconds=0.8)
    f0 = np.repeat(440 * 2 ** ((melody.midi - 69) / 12), 320)
    phase = 2 * np.pi * np.cumsum(f0) / 32_000
    voice = Clip(0.3 * sum(np.sin(k * phase) / k**2 for k in range(1, 8)), 32_000)
    heard = plain_chroma(voice, 32_000, 16_384, 4_096).numpy()
    ours = melody_rows(melody, Format().row_format(len(heard)))
    agreement = (heard.argmax(axis=1) == ours.argmax(axis=1)).mean()
    assert agreement > 0.93
    assert (heard.argmax(axis=1) == (ours.argmax(axis=1) + 1) % 12).mean() < 0.2


def test_plain_chroma_is_the_original_recipe_in_numpy() -> None:
    """Framing, window, filters and the largest of twelve, once more without torch.stft."""
    from transformers.audio_utils import chroma_filter_bank

    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 64_000).astype(np.float32)
    padded = np.pad(samples.astype(np.float64), 8_192, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(16_384) / 16_384)
    frames = np.stack([padded[i : i + 16_384] * window for i in range(0, 64_000, 4_096)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    filters = chroma_filter_bank(num_frequency_bins=16_384, num_chroma=12, sampling_rate=32_000)
    expected = (power @ filters.T).argmax(axis=1)
    heard = plain_chroma(Clip(samples, 32_000), 32_000, 16_384, 4_096)
    assert heard.shape == (1 + 64_000 // 4_096, 12)
    assert len(set(expected)) > 4
    np.testing.assert_array_equal(heard.argmax(dim=1).numpy(), expected[: len(heard)])


def test_silence_is_a_c_to_the_original_extractor() -> None:
    """Why the tracked tune is used instead: an all-zero frame's largest bin is the first."""
    heard = plain_chroma(Clip(np.zeros(32_000, np.float32), 32_000), 32_000, 16_384, 4_096)
    assert (heard[:, 0] == 1).all()


def test_plain_chroma_of_the_voice_conditions_where_it_is_asked_for(folder: Path) -> None:
    phase = 2 * np.pi * 440 * 2 ** ((66 - 69) / 12) * np.arange(48_000) / 16_000
    voice = Clip(0.3 * np.sin(phase), 16_000)
    engine = load(folder, "cpu", chroma="plain")
    job = asked(sung(60, 60, 60, 60), voice=voice)
    rows = engine._plain_rows(voice, 0.0, CHROMA_LENGTH)
    assert rows.argmax(dim=1).tolist() == [6] * CHROMA_LENGTH
    tracked = tokens(load(folder, "cpu"), job)
    assert share_changed(tokens(engine, job), tracked) > 0.3


# Words


def test_all_usual_texts_get_one_length_and_long_ones_a_note(engine: MusicGen) -> None:
    short, longer = engine._words(asked()), engine._words(asked(text="disco " * 60))
    assert short.asked.shape == longer.asked.shape == (64, 24)
    assert engine._words(asked(text="disco " * 100)).asked.shape[0] == 128
    rendition = run(engine, asked(text="disco " * 400))
    assert [note.code for note in rendition.notes] == ["tokens_cut"]
    assert run(engine, asked()).notes == ()


def test_padding_and_the_empty_negative_are_zero(engine: MusicGen) -> None:
    words = engine._words(asked(text="disco"))
    assert words.asked[0].abs().max() > 0
    assert words.asked[3:].abs().max() == 0
    assert words.unwanted.abs().max() == 0
    assert engine._words(asked(negative="rock")).unwanted.abs().max() > 0


def test_backing_up_says_that_the_model_was_made_to_replay(engine: MusicGen) -> None:
    (told,) = run(engine, asked(sung(60, 64), role="back")).notes
    assert told.code == "replays"
    assert run(engine, asked(sung(60, 64), role="tune")).notes == ()


def test_any_script_is_read(engine: MusicGen) -> None:
    assert run(engine, asked(text="ديسكو حزين 音楽 été \U0001f3b8")).audio.seconds == 2.0


# Checkpoints


def test_the_originals_settings_are_read_from_its_extractor(folder: Path) -> None:
    form = read_format(folder)
    assert form.melody_frame_rate == 7.8125
    assert form.melody_window == 0.512
    assert form.window_seconds == 2
    assert form.rows == ("chroma",)


def test_our_own_settings_are_read_and_used(tmp_path: Path) -> None:
    own = {
        "rows": ["chroma", "octave", "onset", "voicing"],
        "melody_frame_rate": 25.0,
        "window_seconds": 0.6,
        "text_lengths": [24],
        "roles": ["tune", "back"],
        "licence": "MIT",
        "commercial": True,
    }
    engine = load(build_tiny_musicgen(tmp_path / "own", own=own, rows=20), "cpu")
    about = engine.describe()
    assert (about.licence, about.commercial) == ("MIT", True)
    assert not any("replay" in limit for limit in about.limits)
    assert engine._words(asked(text="disco " * 60)).asked.shape[0] == 24
    one, other = (run(engine, asked(sung(note, note, note))) for note in (60, 72))
    assert np.abs(one.audio.samples - other.audio.samples).mean() > 0.01  # octaves count here


def test_a_model_that_backs_up_is_not_led_to_play_the_tune(tmp_path: Path) -> None:
    rows = ["chroma", "octave", "onset", "voicing", "beat", "chord", "bass"]
    own = {
        "rows": rows,
        "melody_frame_rate": 25.0,
        "window_seconds": 0.6,
        "roles": ["tune", "back"],
    }
    engine = load(build_tiny_musicgen(tmp_path / "own", own=own, rows=48), "cpu")
    chords = (ChordSpan(0.0, 2.0, parse_chord("Am")),)

    def runs(role: str, tune: Melody) -> tuple[torch.Tensor, torch.Tensor]:
        job = asked(tune, role=role, chords=chords)
        led, unled = engine.branches(job, Settings())
        return led.prefix[:CHROMA_LENGTH], unled.prefix[:CHROMA_LENGTH]

    low, high = sung(60, 64, 67), sung(61, 65, 68)
    for role in ("tune", "back"):
        assert not torch.equal(runs(role, low)[0], runs(role, high)[0])
        assert torch.equal(runs(role, low)[1], runs(role, high)[1]) == (role == "tune")
        assert not torch.equal(*runs(role, low))  # the plan leads either way


def test_an_octave_is_the_same_to_the_original(engine: MusicGen) -> None:
    low, high = (tokens(engine, asked(sung(note, note + 4))) for note in (60, 72))
    assert share_changed(low, high) == 0


@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        ('{"melody_rate": 5}', "melody_rate"),
        ('{"rows": ["octave"]}', "rows"),
        ('{"rows": ["chroma", "octave"]}', "18"),
        ('{"melody_frame_rate": 0.0}', "positive"),
        ('{"top_k": "many"}', "not possible"),
        ("[1]", "not a JSON object"),
        ("{", "JSON"),
    ],
)
def test_impossible_settings_are_named(copy: Path, own: str, complaint: str) -> None:
    (copy / "voice2music.json").write_text(own)
    with pytest.raises(CorruptCheckpoint, match=complaint):
        load(copy, "cpu")


def test_missing_weights_are_refused_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights.pop("decoder.lm_heads.2.weight")
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(CorruptCheckpoint, match=r"lacks 1 .*lm_heads\.2"):
        load(copy, "cpu")


def test_a_checkpoint_without_tokenizer_or_of_another_codec_is_named(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["audio_encoder"]["normalize"] = True
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CorruptCheckpoint, match="codec"):
        load(copy, "cpu")
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CorruptCheckpoint, match="tokenizer"):
        load(copy, "cpu")


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("decoder", "hidden_size", "wide"),  # the library's own check of types
        ("decoder", "num_attention_heads", 7),  # does not divide the width
        ("decoder", "num_hidden_layers", 3),  # one more than there are weights for
        ("decoder", "vocab_size", 33),
        ("audio_encoder", "upsampling_ratios", []),
        ("audio_encoder", "target_bandwidths", [0]),
        ("text_encoder", "model_type", "no-such"),
        (None, "chroma_length", -1),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(
    copy: Path, part: str | None, setting: str, value: object
) -> None:
    config = json.loads((copy / "config.json").read_text())
    (config[part] if part else config)[setting] = value
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CorruptCheckpoint, match="copy"):
        load(copy, "cpu")


def test_want_of_memory_while_loading_is_no_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*inputs: object, **settings: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr("voice2music.engines.musicgen.loading._Model.from_pretrained", full)
    with pytest.raises(OutOfMemory):
        load(folder, "cpu")


def test_the_default_model_says_how_to_get_one_until_it_is_here() -> None:
    if any(listed.name == "mini-musicgen" and listed.available for listed in list_checkpoints()):
        pytest.skip("the small model is here")
    with pytest.raises(MissingCheckpoint, match="voice2music models fetch musicgen-melody"):
        load("mini-musicgen", "cpu")


def test_half_precision_leaves_the_codec_exact(folder: Path, engine: MusicGen) -> None:
    half = load(folder, "cpu", precision="bfloat16")
    assert half._model.decoder.dtype == torch.bfloat16
    exact, kept = (e._model.audio_encoder.state_dict() for e in (engine, half))
    assert all(torch.equal(exact[name], kept[name]) for name in exact)
    audio = run(half, asked(sung(60, 64))).audio
    assert audio.seconds == 2.0
    assert audio.samples.std() > 0.01


def test_length_is_exact_and_its_rate_the_codecs(engine: MusicGen) -> None:
    for seconds in (1.0, 1.23456, 3.999):
        audio = run(engine, asked(sung(60, 64), seconds=seconds)).audio
        assert audio.samples.shape == (1, round(seconds * RATE))
    assert engine.frame_rate == RATE / HOP


def test_stereo_has_two_different_sides(tmp_path: Path) -> None:
    engine = load(build_tiny_musicgen(tmp_path / "stereo", channels=2), "cpu")
    audio = run(engine, asked(sung(60, 64))).audio
    assert audio.channels == 2
    assert np.abs(audio.samples[0] - audio.samples[1]).mean() > 0.01
