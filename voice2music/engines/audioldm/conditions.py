"""What an AudioLDM is to follow, as the branches of one guided prediction.

With guidance g, and a tune or voice that the checkpoint was trained to follow apart from words:

    prediction = nothing + g (words - nothing) + m (words and tune - words),  m = g faithful / 0.7

so that at the usual faithful of 0.7 words and tune are guided together (the middle branch drops
out, and with it a third of the work), and at 0 only the words count. Without guidance g is 1. Where
words and voice share one CLAP vector, there is one condition: the voice has up to half of it, so
that the words (the genre) always count.
"""

import torch
from torch import Tensor
from torch.nn import functional

from voice2music.engines.audioldm.melody import melody_channels
from voice2music.engines.audioldm.parts import Parts
from voice2music.engines.audioldm.sampling import Branch
from voice2music.engines.base import Conditioning, Settings
from voice2music.engines.plan import plan_of

USUAL = 0.7  # faithful at which the tune is guided as strongly as the words


def hears_tune(parts: Parts, given: Conditioning) -> bool:
    """Whether the tune, frame by frame, reaches the network."""
    return parts.layout.melody is not None and given.melody is not None


def hears_voice(parts: Parts, given: Conditioning) -> bool:
    """Whether the voice's sound, as one CLAP vector, reaches the network."""
    return parts.audio is not None and given.voice is not None


def branches(
    parts: Parts, given: Conditioning, settings: Settings, frames: int
) -> tuple[Branch, ...]:
    """Every condition with its weight; the weights add up to 1.

    Args:
        frames: latent frames of the piece.
    """
    guidance = parts.layout.guidance if settings.guidance is None else settings.guidance
    words, negative = _words(parts, given)
    voice = _voice(parts, given, settings)
    silent = _rows(parts, None, frames)

    apart = hears_tune(parts, given) or (parts.layout.clap == "concatenated" and voice is not None)
    share = settings.faithful / USUAL if apart else 1.0
    follow = guidance * share
    return (
        Branch(1 - guidance, _fused(parts, negative, None, 0.0), silent),
        Branch(guidance - follow, _fused(parts, words, None, 0.0), silent, 1 - share),
        Branch(
            follow,
            _fused(parts, words, voice, settings.faithful / 2),
            _rows(parts, given, frames),
            share,
        ),
    )


def _words(parts: Parts, given: Conditioning) -> tuple[Tensor | None, Tensor | None]:
    """CLAP of the words and of what is not wanted; None where there are none."""
    text, negative = parts.text.recalled([given.text, given.negative])
    # AudioLDM knows "no words" as the embedding of the empty text.
    apart = parts.layout.clap == "concatenated"
    keep_empty = not apart or parts.layout.empty == "text"
    return (
        text if given.text or (keep_empty and (apart or not hears_voice(parts, given))) else None,
        negative if given.negative or keep_empty else None,
    )


def _voice(parts: Parts, given: Conditioning, settings: Settings) -> Tensor | None:
    if parts.audio is None or given.voice is None or settings.faithful == 0:
        return None
    return parts.audio.embed(given.voice)


def _fused(parts: Parts, words: Tensor | None, voice: Tensor | None, share: float) -> Tensor:
    """One class embedding; `share` is the voice's in a weighted mean."""
    absent = torch.zeros(parts.text.model.config.projection_dim, device=parts.vae.device)
    if parts.layout.clap == "concatenated":
        return torch.cat([absent if words is None else words, absent if voice is None else voice])
    if voice is None:
        return absent if words is None else words
    if words is None:
        return voice
    return functional.normalize((1 - share) * words + share * voice, dim=-1)


def _rows(parts: Parts, given: Conditioning | None, frames: int) -> Tensor:
    """The channels of tune and plan, shape (C, frames, bins); C is 0 where the UNet has none."""
    bins = parts.mel.bins // parts.shrink
    device = parts.vae.device
    if parts.layout.melody is None:
        return torch.zeros(0, frames, bins, device=device)
    rows = melody_channels(
        given.melody if given else None,
        frames,
        parts.frame_rate,
        bins,
        parts.layout.melody,
        plan_of(given) if given else None,
    )
    return torch.from_numpy(rows).to(device)
