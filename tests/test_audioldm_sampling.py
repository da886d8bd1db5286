"""Denoising against closed forms, windows, spectrogram, vocoder chunks, melody channels."""

import itertools
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_audioldm import tiny_vocoder
from torch import Tensor

from voice2music.clip import Clip, silence
from voice2music.engines.audioldm.melody import MelodyRows, melody_channels
from voice2music.engines.audioldm.sampling import Branch, Sampler, denoised, scheduler_for
from voice2music.engines.audioldm.vocoding import reach, waveform
from voice2music.engines.audioldm.windows import over_windows, windows
from voice2music.engines.base import Melody
from voice2music.engines.spectrogram import MelSettings, log_mel
from voice2music.errors import Cancelled
from voice2music.notes import Note

SHAPE = (2, 64, 4)
MEAN, SPREAD = 0.7, 0.5


def schedule(sampler: Sampler) -> object:
    """AudioLDM's noise schedule."""
    from diffusers import DDIMScheduler

    config = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    ).config  # fmt: skip
    return scheduler_for(config, sampler)


class GaussianWorld:
    """The perfect denoiser of latents that are N(mean, SPREAD²), one number each.

    The mean is the class label, so that guidance has something to steer.
    """

    dtype = torch.float32
    config = SimpleNamespace(block_out_channels=(1, 1, 1))

    def __init__(self) -> None:
        self.signal = schedule("ddim").alphas_cumprod
        self.shapes: list[tuple[int, ...]] = []

    def __call__(
        self, x: Tensor, time: Tensor, encoder_hidden_states: None, class_labels: Tensor
    ) -> SimpleNamespace:
        self.shapes.append(tuple(x.shape))
        a = self.signal[int(time)]
        mean = class_labels[:, 0].view(-1, 1, 1, 1)
        variance = a * SPREAD**2 + 1 - a
        return SimpleNamespace(sample=(1 - a).sqrt() * (x - a.sqrt() * mean) / variance)


def under(mean: float, weight: float = 1.0) -> Branch:
    return Branch(weight, torch.tensor([mean]), torch.zeros(0, *SHAPE[1:]))


def noise(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def run(
    sampler: Sampler, steps: int, branches: list[Branch] | None = None, window: int = 64, **more
) -> Tensor:
    options = {"start": None, "strength": 1.0, "go_on": lambda share: None} | more
    return denoised(
        GaussianWorld(),
        schedule(sampler),
        more.get("noise", noise()) if "noise" not in options else options.pop("noise"),
        branches or [under(MEAN)],
        window=window,
        steps=steps,
        **options,
    )


def exact() -> Tensor:
    """What the probability flow makes of the noise: it keeps each number's place in the
    distribution, from N(sqrt(a) mean, a spread² + 1 - a) at the last step to N(mean, spread²)."""
    a = GaussianWorld().signal[-1]
    return MEAN + SPREAD * (noise() - a.sqrt() * MEAN) / (a * SPREAD**2 + 1 - a).sqrt()


@pytest.mark.parametrize(
    ("sampler", "steps", "within"),
    [("dpm++", 20, 0.005), ("dpm++", 10, 0.02), ("dpm++", 1000, 0.005), ("ddim", 1000, 0.01)],
)
def test_samples_follow_the_exact_flow_of_a_gaussian(
    sampler: Sampler, steps: int, within: float
) -> None:
    assert (run(sampler, steps) - exact()).abs().mean() < within
    assert exact().std() > 0.4


def test_twenty_fast_steps_are_better_than_two_hundred_of_ddim() -> None:
    fast, slow = run("dpm++", 20), run("ddim", 200)
    assert (fast - exact()).abs().mean() < (slow - exact()).abs().mean()


def test_one_step_is_a_step() -> None:
    """It gives the mean of what the noise may hold, which is nearly the mean of all."""
    assert (run("dpm++", 1) - MEAN).abs().max() < 0.1


def test_guidance_is_the_weighted_sum_of_its_branches() -> None:
    """Branches at means a and b of weights 1 - g and g act as one at a + g (b - a)."""
    apart = run("dpm++", 12, [under(0.2, -1.5), under(0.6, 2.5)])
    torch.testing.assert_close(apart, run("dpm++", 12, [under(0.2 + 2.5 * 0.4)]))


def test_a_branch_without_weight_costs_nothing() -> None:
    world = GaussianWorld()
    denoised(
        world, schedule("dpm++"), noise(), [under(0.0, 0.0), under(1.0)],
        window=64, steps=3, start=None, strength=1.0, go_on=lambda share: None,
    )  # fmt: skip
    assert world.shapes == [(1, *SHAPE)] * 3


@pytest.mark.parametrize("sampler", ["dpm++", "ddim"])
def test_the_more_is_remade_the_less_is_left_of_the_start(sampler: Sampler) -> None:
    start = MEAN + SPREAD * noise(1)
    left = [
        float(torch.corrcoef(torch.stack([out.flatten(), start.flatten()]))[0, 1])
        for strength in (0.0, 0.2, 0.5, 0.8, 1.0)
        for out in [run(sampler, 40, start=start, strength=strength)]
    ]
    assert left[0] == pytest.approx(1.0)
    assert left == sorted(left, reverse=True)
    assert left[1] > 0.4
    assert abs(left[4]) < 0.15


@pytest.mark.parametrize("sampler", ["dpm++", "ddim"])
@pytest.mark.parametrize("strength", [0.2, 0.6, 0.9])
def test_what_is_remade_is_distributed_as_what_was_learnt(
    sampler: Sampler, strength: float
) -> None:
    """A start drawn from the model's own distribution stays in it at any strength."""
    shape = (8, 512, 16)
    generator = torch.Generator().manual_seed(3)
    start = MEAN + SPREAD * torch.randn(shape, generator=generator)
    branch = Branch(1.0, torch.tensor([MEAN]), torch.zeros(0, 512, 16))
    out = denoised(
        GaussianWorld(), schedule(sampler), torch.randn(shape, generator=generator), [branch],
        window=512, steps=50, start=start, strength=strength, go_on=lambda share: None,
    )  # fmt: skip
    assert float(out.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(out.std()) == pytest.approx(SPREAD, rel=0.02 if sampler == "dpm++" else 0.1)


def test_windows_change_nothing_where_the_network_sees_only_points() -> None:
    torch.testing.assert_close(run("dpm++", 8, window=16), run("dpm++", 8, window=64))


def test_melody_channels_travel_with_their_window() -> None:
    seen: list[Tensor] = []

    class Watching(GaussianWorld):
        def __call__(self, x: Tensor, *args: object, **more: object) -> SimpleNamespace:
            seen.append(x)
            return super().__call__(x[:, :2], *args, **more)

    clock = torch.arange(64.0).view(1, 64, 1).expand(1, 64, 4)
    branches = [
        Branch(-1.0, torch.tensor([0.0]), torch.zeros(1, 64, 4)),
        Branch(2.0, torch.tensor([0.0]), clock),
    ]
    denoised(
        Watching(), schedule("dpm++"), noise(), branches,
        window=32, steps=1, start=None, strength=1.0, go_on=lambda share: None,
    )  # fmt: skip
    assert [int(x[1, 2, 0, 0]) for x in seen] == [0, 16, 32]
    assert all(not x[0, 2].any() for x in seen)


def test_cancelling_is_asked_before_every_window_of_every_step() -> None:
    shares: list[float] = []

    def three_times(share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        run("dpm++", 4, window=32, go_on=three_times)
    assert shares == pytest.approx([0, 1 / 12, 2 / 12])


@given(st.integers(1, 60), st.integers(1, 12), st.sampled_from([1, 2, 8]))
def test_windows_cover_everything_and_overlap(frames: int, size: int, align: int) -> None:
    parts = windows(frames * align, size * align, align)
    assert parts[0].start == 0
    assert parts[-1].stop == frames * align
    assert {part.stop - part.start for part in parts} == {min(frames, size) * align}
    assert all(part.start % align == 0 for part in parts)
    for before, after in itertools.pairwise(parts):
        assert before.start < after.start or size == 1
        assert after.start <= before.stop - (size * align) // 2 + align


@given(st.integers(1, 40), st.integers(2, 10), st.sampled_from([0.25, 1, 4]))
@settings(max_examples=50)
def test_joining_windows_of_a_pointwise_function_is_seamless(
    frames: int, size: int, ratio: float
) -> None:
    whole = torch.randn(2, frames * 4, 3)

    def stretched(part: Tensor) -> Tensor:
        if ratio < 1:
            return 2 * part[:, :: round(1 / ratio)]
        return 2 * part.repeat_interleave(int(ratio), dim=1)

    torch.testing.assert_close(over_windows(stretched, whole, size * 4, 4), stretched(whole))


def test_chunks_of_sound_are_the_same_as_the_whole() -> None:
    vocoder = tiny_vocoder()
    mel = torch.randn(700, 64)
    with torch.no_grad():
        whole = vocoder(mel)[: 700 * 160]
    assert whole.abs().max() > 0.1
    for chunk in (100, 256, 333, 699, 700, 2000):
        torch.testing.assert_close(waveform(vocoder, mel, chunk=chunk), whole, atol=1e-5, rtol=0)


def test_the_vocoders_reach_is_what_a_change_of_one_frame_touches() -> None:
    vocoder = tiny_vocoder()
    mel = torch.zeros(200, 64)
    other = mel.clone()
    other[100] = 3.0
    with torch.no_grad():
        touched = (vocoder(mel) != vocoder(other)).nonzero().flatten()
    frames = reach(vocoder.config)
    assert 100 - int(touched.min()) / 160 <= frames
    assert int(touched.max()) / 160 - 100 <= frames
    assert frames <= 20


def test_log_mel_is_librosas_with_natural_log_and_magnitudes() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 16_000).astype(np.float32)
    samples *= np.linspace(0, 1, 16_000, dtype=np.float32)
    mine = log_mel(Clip(samples, 16_000), MelSettings(), 100).numpy()

    levelled = (samples - samples.mean()) / np.abs(samples - samples.mean()).max() * 0.5
    magnitude = np.abs(librosa.stft(levelled, n_fft=1024, hop_length=160, pad_mode="reflect"))
    bank = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=64, fmin=0, fmax=8_000)
    theirs = np.log(np.maximum(bank @ magnitude, 1e-5)).T[:100]
    assert np.ptp(theirs) > 3
    np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_log_mel_pads_cuts_and_holds_silence() -> None:
    tone = Clip(np.sin(np.arange(16_000) * 0.05).astype(np.float32), 16_000)
    padded = log_mel(tone, MelSettings(), 300)
    assert padded.shape == (300, 64)
    assert padded[150:].max() == pytest.approx(np.log(1e-5))
    cut = log_mel(tone.cut(0, 0.5), MelSettings(), 50)
    torch.testing.assert_close(log_mel(tone, MelSettings(), 50), cut)
    assert log_mel(silence(1.0, 16_000), MelSettings(), 100).unique().tolist() == [
        pytest.approx(np.log(1e-5))
    ]


def test_the_filters_serve_training_even_where_playing_asked_first() -> None:
    settings_of_this_test = MelSettings(bins=40)
    tone = Clip(np.sin(np.arange(16_000) * 0.05).astype(np.float32), 16_000)
    with torch.inference_mode():
        log_mel(tone, settings_of_this_test, 50)
    layer = torch.nn.Linear(40, 1)
    layer(log_mel(tone, settings_of_this_test, 50)).sum().backward()
    assert layer.weight.grad is not None


def held(midi: float, seconds: float = 2.0) -> Melody:
    curve = np.full(round(seconds * 100), midi, np.float32)
    return Melody(curve, (Note(0.0, seconds, round(midi)),))


def test_a_held_note_is_one_pitch_class_one_octave_and_one_onset() -> None:
    out = melody_channels(held(69.3), 50, 25.0, 4, MelodyRows())
    assert out.shape == (19, 50, 4)
    assert out.dtype == np.float32
    assert (out == out[:, :, :1]).all()
    column = np.zeros(19)
    column[[9, 12 + 2, 18]] = 1  # A, the octave from C4, voicing
    np.testing.assert_array_equal(out[:, 1:, 0], np.repeat(column[:, None], 49, axis=1))
    assert out[17, :, 0].tolist() == [1.0] + [0.0] * 49


def test_rests_are_not_the_same_as_no_melody() -> None:
    silent = Melody(np.full(100, np.nan, np.float32), ())
    rests = melody_channels(silent, 50, 25.0, 1, MelodyRows())
    assert (rests[-1] == -1).all()
    assert not rests[:-1].any()
    assert not melody_channels(None, 50, 25.0, 1, MelodyRows()).any()


def test_past_its_end_a_melody_rests() -> None:
    out = melody_channels(held(60, 1.0), 50, 25.0, 1, MelodyRows())
    assert (out[-1, :25] == 1).all()
    assert (out[-1, 25:] == -1).all()


@given(
    st.lists(st.integers(48, 70), min_size=1, max_size=6),
    st.integers(0, 12),
    st.floats(10.0, 60.0),
)
def test_transposing_the_tune_turns_the_pitch_classes(
    notes: list[int], by: int, frame_rate: float
) -> None:
    def rows(shift: int) -> np.ndarray:
        midi = np.repeat(np.array(notes, np.float32) + shift, 20)
        midi[::7] = np.nan
        return melody_channels(Melody(midi, ()), 30, frame_rate, 1, MelodyRows())

    plain, moved = rows(0), rows(by)
    np.testing.assert_allclose(np.roll(plain[:12], by, axis=0), moved[:12])
    np.testing.assert_array_equal(plain[-2:], moved[-2:])
    np.testing.assert_allclose(moved[:12].sum(axis=0), moved[12:-2].sum(axis=0), atol=1e-6)
    if by == 12:
        np.testing.assert_allclose(np.roll(plain[12:17], 1, axis=0), moved[12:17])


def test_notes_beyond_the_octaves_count_to_the_nearest() -> None:
    rows = MelodyRows(lowest=48, octaves=2)
    low = melody_channels(held(30), 5, 25.0, 1, rows)
    high = melody_channels(held(100), 5, 25.0, 1, rows)
    assert low[12:14, 0, 0].tolist() == [1.0, 0.0]
    assert high[12:14, 0, 0].tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="begin at a C"):
        MelodyRows(lowest=50)
