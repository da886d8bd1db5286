"""`voice2music.json`: what a checkpoint's own files do not say about how it was trained.

A pretrained AudioLDM has none; then the defaults hold, which are AudioLDM's. Our training writes
one. A UNet with `resnet_time_scale_shift: "scale_shift"` in its own config scales and shifts its
features by time and CLAP embedding; the default only shifts them. That needs no entry here.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from voice2music.engines.audioldm.melody import MelodyRows
from voice2music.errors import CorruptCheckpoint

FILE = "voice2music.json"
ABOUT = ("licence", "commercial", "note", "made_from")  # fields of the same file for other readers
Fusion = Literal["words", "weighted", "concatenated"]


@dataclass(frozen=True)
class Layout:
    """How a checkpoint was trained.

    Args:
        window_seconds: sound in training; longer pieces are made in overlapping windows.
        clap: how the CLAP embeddings of words and voice become one. "weighted": their weighted
            mean, brought back to length 1. "concatenated": side by side, words first, zeros for
            the one that is absent; training must drop each of them now and then. "words": the
            voice's is not used.
        melody: the melody rows among the UNet's input channels, None where there are none.
        film: the UNet brings FiLM of its own, see `film`.
        empty: what stands for no words where `clap` is "concatenated": "zeros", or "text", the
            embedding of the empty text, as a pretrained AudioLDM knows it.
        guidance: classifier-free guidance scale that goes with it.
        n_fft, fmin, fmax: of the log-mel, where they are not AudioLDM's.
    """

    window_seconds: float = 10.24
    clap: Fusion = "weighted"
    melody: MelodyRows | None = None
    film: bool = False
    empty: Literal["zeros", "text"] = "zeros"
    guidance: float = 2.5
    n_fft: int = 1024
    fmin: float = 0.0
    fmax: float = 8_000.0

    @classmethod
    def read(cls, folder: Path) -> "Layout":
        """From a checkpoint's folder; the defaults where it has no such file.

        Raises:
            CorruptCheckpoint: not JSON, unknown fields, or values of the wrong kind.
        """
        path = folder / FILE
        if not path.is_file():
            return cls()
        try:
            own: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
            values = {key: value for key, value in own.items() if key not in ABOUT}
            known = {field.name for field in dataclasses.fields(cls)}
            if unknown := sorted(set(values) - known):
                raise ValueError(f"unknown field {unknown[0]!r}; known: {sorted(known)}")
            if values.get("melody") is not None:
                values["melody"] = MelodyRows(**values["melody"])
            layout = cls(**values)
            if layout.clap not in get_args(Fusion) or layout.window_seconds <= 0:
                raise ValueError(f"clap is {layout.clap!r}, window is {layout.window_seconds!r}")
            if layout.empty not in ("zeros", "text"):
                raise ValueError(f"empty is {layout.empty!r}")
        except (ValueError, TypeError) as error:
            raise CorruptCheckpoint(
                f"'{folder.name}/{FILE}' cannot be used ({error}). Fetch the checkpoint again."
            ) from error
        return layout

    def write(self, folder: Path) -> None:
        """Into a checkpoint's folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (folder / FILE).write_text(text + "\n")
