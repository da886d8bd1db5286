"""How well log-mels and sounds made of them stand for music: distances and melody kept."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from voice2music.clip import Clip
from voice2music.engines.spectrogram import MelSettings, mel_filters
from voice2music.evaluation.melody import melody_accuracy, prominent_pitch_classes
from voice2music.training.crops import Piece


def griffin_lim(mel: Tensor, settings: MelSettings, rounds: int = 32) -> Tensor:
    """Sound of a log-mel without a vocoder: least squares for the bins, then phases by rounds.

    Source: Griffin and Lim, 1984; Perraudin et al., 2013 (librosa's momentum).

    Args:
        mel: shape (frames, bins).
        settings: of the log-mel.
        rounds: of phases.
    Returns:
        Shape (frames * hop,).
    """
    import librosa

    filters = mel_filters(
        settings.n_fft, settings.bins, settings.rate, settings.fmin, settings.fmax
    ).numpy()
    bands = torch.cat([mel, mel[-1:]]).float().exp()  # one frame is centred on the very end
    magnitudes = librosa.util.nnls(filters, bands.T.numpy())
    samples = librosa.griffinlim(
        magnitudes,
        n_iter=rounds,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        length=len(mel) * settings.hop,
        random_state=0,
    )
    return torch.from_numpy(np.asarray(samples, np.float32))


def melody_kept(pieces: Sequence[Piece], sounds: Iterable[Tensor], rate: int) -> float:
    """Mean melody accuracy of sounds that stand for the pieces, 0 to 1."""
    values = [
        melody_accuracy(prominent_pitch_classes(clip(sound, rate)), piece.melody)
        for piece, sound in zip(pieces, sounds, strict=True)
    ]
    return float(np.nanmean([accuracy.value for accuracy in values]))


def clip(sound: Tensor, rate: int) -> Clip:
    """Samples, shape (n,), as a clip."""
    return Clip(sound.float().numpy(), rate)
