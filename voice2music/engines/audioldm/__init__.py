"""AudioLDM on its on-disk (diffusers) layout: our own sampling loop, voice and tune conditioning.

`load` reads a checkpoint; `AudioLDM` takes built parts. Training shares `melody` (the layout of
the tune's channels), `spectrogram`, `clap` and `layout`.
"""

from pathlib import Path

import torch

from voice2music.checkpoints import Checkpoint, locate
from voice2music.engines.audioldm.engine import About, AudioLDM
from voice2music.engines.audioldm.parts import Parts, Precision, load_parts
from voice2music.engines.audioldm.sampling import Sampler
from voice2music.engines.devices import chosen
from voice2music.engines.memory import memory_errors_named

__all__ = ["About", "AudioLDM", "Parts", "load"]


def load(
    checkpoint: Checkpoint | Path | str,
    device: str | None = None,
    *,
    precision: Precision = "auto",
    audio_tower: Path | None = None,
    sampler: Sampler = "dpm++",
    trust: bool = False,
) -> AudioLDM:
    """The engine of a checkpoint. Nothing is downloaded.

    Args:
        checkpoint: what `checkpoints.locate` gave, or a name or folder for it.
        device: as torch names them; None takes a graphics card where there is one.
        precision, audio_tower, trust: see `load_parts`.
        sampler: "dpm++" (fast) or "ddim".
    Raises:
        MissingCheckpoint: not here; the text says how to get it.
        CorruptCheckpoint: not whole, not AudioLDM, or not safe to read.
        OutOfMemory: it does not fit.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = locate(checkpoint)
    device = chosen(device)
    with memory_errors_named():
        parts = load_parts(checkpoint.folder, device, precision, audio_tower, trust)
        # On processors convolutions are faster on such maps; on cards, whose group norms turn them
        # back, it was not measured. The encoder stays as training has it, to the bit.
        for model in (parts.unet, parts.vae.decoder) if device == "cpu" else ():
            model.to(memory_format=torch.channels_last)
    about = About(checkpoint.name, checkpoint.sha256, checkpoint.licence, checkpoint.commercial)
    return AudioLDM(parts, about, sampler)
