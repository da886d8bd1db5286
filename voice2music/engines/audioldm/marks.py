"""What tells one checkpoint's ears from another's: who keeps what they heard asks for it again."""

import hashlib
from pathlib import Path

EARS = ("vae", "audio_tower", "text_encoder")  # the latter is the space that the tower hears in


def ears_mark(folder: Path) -> str:
    """A hash of the networks that make latents and voice vectors.

    Args:
        folder: of the checkpoint.
    """
    digest = hashlib.sha256()
    for name in EARS:
        for file in sorted((folder / name).rglob("*.safetensors")):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
