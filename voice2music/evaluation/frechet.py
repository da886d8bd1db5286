"""Fréchet distance between two sets of embeddings (FAD, when the embeddings are of audio)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voice2music.clip import Clip
from voice2music.evaluation.intervals import Estimate

Matrix = NDArray[np.float64]


def frechet_distance(one: Matrix, other: Matrix) -> float:
    """Squared Fréchet (2-Wasserstein) distance of the Gaussians fitted to two sets.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), the trace of the root from the eigenvalues
    of S1^(1/2) S2 S1^(1/2), which are real and not negative, so that no imaginary part is thrown
    away. In float64 throughout.

    Args:
        one, other: shape (n, dimensions), n >= 2; with n below the dimensions the covariances are
            singular and the distance is biased upwards: print n beside it.
    Raises:
        ValueError: fewer than two rows, or dimensions that differ.
    Source: Dowson and Landau 1982; Kilgour et al. 2019 (FAD).
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"embeddings of shapes {one.shape} and {other.shape}")
    if min(len(one), len(other)) < 2:
        raise ValueError("a covariance needs at least two embeddings")
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    root = _root(first)
    cross = np.linalg.eigvalsh(root @ second @ root)
    shift = one.mean(axis=0) - other.mean(axis=0)
    spread = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(cross, 0)).sum()
    return float(shift @ shift + max(spread, 0.0))


def extrapolated(one: Matrix, other: Matrix, *, seed: int = 0, points: int = 8) -> float:
    """The distance for unlimited samples: a line through distances at growing n, over 1 / n.

    Args:
        one: the set that is subsampled (the takes); `other` stays whole (the reference).
    Source: "FAD infinity" after Chong and Forsyth 2020; Gui et al. 2024.
    """
    rng = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(max(2, len(one) // 4), len(one), points).astype(int))
    distances = [
        frechet_distance(one[rng.choice(len(one), n, replace=False)], other) for n in sizes
    ]
    if len(sizes) < 2:
        return distances[0]
    slope_and_limit = np.polyfit(1 / sizes, distances, 1)
    return float(slope_and_limit[1])


def jackknifed(one: Matrix, other: Matrix, *, folds: int = 16) -> Estimate:
    """The distance with an interval: folds of `one` are left out in turn.

    Drawing rows again and again (the bootstrap) would make the sets thinner, and with that the
    distance larger; a jackknife does not. The interval says nothing of the bias at small n.

    Args:
        one: the takes, no two of a voice; `other`: the reference, left whole.
        folds: as many rows at most.
    Returns:
        The distance and 1.96 standard errors to either side; n and groups are the rows of `one`.
    Raises:
        ValueError: as `frechet_distance`; or fewer than four rows in `one`.
    Source: Efron and Stein 1981 (grouped).
    """
    if len(one) < 4:
        raise ValueError("a jackknife needs at least four embeddings")
    folds = min(folds, len(one) // 2)
    fold = np.arange(len(one)) % folds
    left = np.array([frechet_distance(one[fold != k], other) for k in range(folds)])
    error = np.sqrt((folds - 1) / folds * ((left - left.mean()) ** 2).sum())
    whole = frechet_distance(one, other)
    low, high = whole - 1.96 * error, whole + 1.96 * error
    return Estimate(whole, float(low), float(high), len(one), len(one))


def clap_embeddings(clips: Iterable[Clip], folder: Path) -> Matrix:
    """Audio embeddings by a CLAP model, unit length, shape (clips, dimensions).

    A clip longer than the model's window is the mean of its windows; the library's own feature
    extractor would take one at random.

    Args:
        folder: a transformers `ClapModel` with its processor.
    Raises:
        CorruptCheckpoint: the folder is no such model.
    """
    import torch

    model, processor = load_clap(folder)
    extractor = processor.feature_extractor
    rate, window = extractor.sampling_rate, round(extractor.nb_max_samples)
    rows = []
    for clip in clips:
        samples = clip.mono().resampled(rate).samples[0]
        parts = [
            samples[i : i + window] for i in range(0, max(len(samples) - window // 2, 1), window)
        ]
        inputs = extractor(parts, max_length=window, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            row = model.get_audio_features(**inputs).pooler_output.double().mean(dim=0)
        rows.append((row / row.norm()).numpy())
    return np.stack(rows)


def clap_texts(texts: Iterable[str], folder: Path) -> Matrix:
    """Text embeddings by a CLAP model, unit length, shape (texts, dimensions).

    Args, raises: as of `clap_embeddings`.
    """
    import torch

    model, processor = load_clap(folder)
    tokens = processor.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        rows = model.get_text_features(**tokens).pooler_output.double().numpy()
    unit: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def clap_scores(clips: Iterable[Clip], texts: Iterable[str], folder: Path) -> NDArray[np.float64]:
    """Cosine of each clip's audio embedding with its own text's, shape (clips,).

    Source: "CLAP score" as in Copet et al. 2023 (there with laion_clap's music checkpoint).
    """
    cosine: NDArray[np.float64] = (clap_embeddings(clips, folder) * clap_texts(texts, folder)).sum(
        axis=1
    )
    return cosine


def load_clap(folder: Path) -> tuple[Any, Any]:
    """A transformers CLAP model and processor out of a local folder, in evaluation mode."""
    from transformers import ClapModel, ClapProcessor

    from voice2music.errors import CorruptCheckpoint

    try:
        model = ClapModel.from_pretrained(folder, local_files_only=True).float().eval()
        return model, ClapProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CorruptCheckpoint(
            f"'{folder.name}' is not a CLAP model: {error}. Give a folder in the layout that "
            f"transformers' ClapModel and ClapProcessor save."
        ) from error


def _root(matrix: Matrix) -> Matrix:
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    root: Matrix = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
