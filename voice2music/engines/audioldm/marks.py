"""What tells one checkpoint's ears from another's: who keeps what they heard asks for it again."""

import hashlib
from pathlib import Path

from voice2music.engines.audioldm.layout import Layout

EARS = ("vae", "audio_tower", "text_encoder")  # the latter is the space that the tower hears in
KINDS = (".safetensors", ".json")


def ears_mark(folder: Path) -> str:
    """A hash of the networks that make latents and voice vectors, and of the log-mel they hear.

    Args:
        folder: of the checkpoint.
    Raises:
        CorruptCheckpoint: see `Layout.read`.
    """
    layout = Layout.read(folder)
    heard = (layout.window_seconds, layout.n_fft, layout.fmin, layout.fmax)
    digest = hashlib.sha256(repr(heard).encode())
    files = [folder / "vocoder" / "config.json"]
    files += [file for name in EARS for file in sorted((folder / name).rglob("*"))]
    for file in files:
        if file.suffix in KINDS and file.is_file():
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
