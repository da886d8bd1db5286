import shutil

import numpy as np
import pytest
from test_loudness import tone
from tiny_audioldm import tiny_clap, tiny_tokenizer
from transformers import ClapFeatureExtractor, ClapProcessor

from voice2music.clip import Clip
from voice2music.errors import CorruptCheckpoint
from voice2music.evaluation.frechet import clap_embeddings, clap_scores, frechet_distance


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clap")
    model = tiny_clap()
    model.save_pretrained(folder)
    bins = model.config.audio_config.num_mel_bins
    extractor = ClapFeatureExtractor(feature_size=bins, truncation="rand_trunc", max_length_s=2)
    ClapProcessor(extractor, tiny_tokenizer()).save_pretrained(folder)
    return folder


def noise(seconds: float, seed: int = 0) -> Clip:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * 48_000))
    return Clip((0.1 * samples).astype(np.float32), 48_000)


def test_embeddings_have_unit_length_and_differ_with_the_sound(clap):
    rows = clap_embeddings([tone(220, -12), noise(3.0)], clap)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_a_long_clip_is_heard_whole_and_the_same_way_every_time(clap):
    long = Clip(np.concatenate([noise(2.0).samples, tone(220, -12, 2.0).samples], axis=1), 48_000)
    state = np.random.get_state()[1].copy()
    first, again = (clap_embeddings([long], clap)[0] for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(np.random.get_state()[1], state)
    halves = clap_embeddings([long.cut(0, 2), long.cut(2, 4)], clap)
    mean = halves.mean(axis=0)
    assert first == pytest.approx(mean / np.linalg.norm(mean), abs=1e-2)


def test_the_score_is_the_cosine_of_each_clip_with_its_own_text(clap):
    clips, texts = [tone(220, -12), noise(3.0)], ["disco music", "a slow waltz"]
    both = clap_scores(clips, texts, clap)
    assert both.shape == (2,)
    assert np.abs(both).max() <= 1
    alone = clap_scores(clips[1:], texts[1:], clap)
    assert both[1] == pytest.approx(alone[0], abs=1e-5)
    swapped = clap_scores(clips, texts[::-1], clap)
    assert np.abs(both - swapped).max() > 1e-4


def test_more_different_sounds_are_further_apart(clap):
    quiet = clap_embeddings([noise(2.0, seed) for seed in range(6)], clap)
    same = clap_embeddings([noise(2.0, seed) for seed in range(6, 12)], clap)
    tones = clap_embeddings([tone(110 * (1 + seed), -12, 2.0) for seed in range(6)], clap)
    assert frechet_distance(quiet, tones) > 2 * frechet_distance(quiet, same)


def test_a_folder_that_is_no_clap_is_refused(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="CLAP"):
        clap_embeddings([noise(1.0)], tmp_path)


def test_a_window_need_not_be_whole_seconds(clap, tmp_path):
    """Their product with the rate is a float then."""
    folder = tmp_path / "other"
    shutil.copytree(clap, folder)
    processor = ClapProcessor.from_pretrained(folder, local_files_only=True)
    bins = processor.feature_extractor.feature_size
    other = ClapFeatureExtractor(feature_size=bins, truncation="rand_trunc", max_length_s=2.1)
    ClapProcessor(other, processor.tokenizer).save_pretrained(folder)
    for seconds in (0.5, 2.1, 3.5, 5.0):
        assert clap_embeddings([noise(seconds)], folder).shape[0] == 1
