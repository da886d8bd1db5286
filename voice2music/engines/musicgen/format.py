"""How a MusicGen checkpoint wants its melody and its text, read from the files beside the weights.

The original checkpoints say it in `preprocessor_config.json`, their chroma extractor's settings.
Models of our own training say it in `voice2music.json`, whose fields are those of `Format`.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voice2music.engines.musicgen.rows import ROW_SIZES, RowFormat
from voice2music.errors import CorruptCheckpoint

OWN_FILE = "voice2music.json"
ABOUT = ("licence", "commercial", "note", "made_from")  # fields of the same file for other readers


@dataclass(frozen=True)
class Format:
    """What one checkpoint is given; the defaults are the original MusicGen-Melody's.

    Args:
        rows: blocks of rows in order (see `rows.ROW_SIZES`); "chroma" comes first.
        melody_frame_rate: melody frames per second (the original: hop 4,096 at 32 kHz).
        melody_window: seconds that one melody frame speaks for (the original: 16,384 samples).
        window_seconds: how much music fits into one pass.
        text_lengths: tokens that texts are padded to: the first length that holds the text. The
            text stands before the music, so its length moves every position after it; one length
            for nearly all texts keeps them still.
        roles: what the model was trained to do with a tune: play it, back it up, or both.
        guidance: classifier-free guidance scale that goes with it (the original: 3).
        word_guidance: the words' own, where they need more or less than the voice to be heeded; a
            third run of the decoder beside two.
        top_k, temperature: of sampling (Copet et al. 2023: 250 and 1).
        top_p: see `drawing.Sampling`; 1 leaves all.
        chroma_rate, n_fft, hop_length: of the extractor for plain chroma, in Hz and samples.
    """

    rows: tuple[str, ...] = ("chroma",)
    melody_frame_rate: float = 32_000 / 4_096
    melody_window: float = 16_384 / 32_000
    window_seconds: float = 30.0
    text_lengths: tuple[int, ...] = (64, 128, 256)
    roles: tuple[str, ...] = ("tune",)
    guidance: float = 3.0
    word_guidance: float | None = None
    top_k: int = 250
    temperature: float = 1.0
    top_p: float = 1.0
    chroma_rate: int = 32_000
    n_fft: int = 16_384
    hop_length: int = 4_096

    def __post_init__(self) -> None:
        unknown = [row for row in self.rows if row not in ROW_SIZES]
        if unknown or self.rows[:1] != ("chroma",):
            raise ValueError(f"rows begin with chroma and are of {list(ROW_SIZES)}: {self.rows}")
        numbers = (self.melody_frame_rate, self.melody_window, self.window_seconds, self.top_k)
        if min(numbers) <= 0 or min(self.text_lengths) <= 0 or self.temperature <= 0:
            raise ValueError(f"rates, lengths and top_k are positive: {self}")

    def row_format(self, frames: int) -> RowFormat:
        """The melody rows of one window, `frames` long."""
        return RowFormat(self.melody_frame_rate, frames, self.melody_window, self.rows)


def read_format(folder: Path) -> Format:
    """What the files in `folder` say; the original's behaviour where they say nothing.

    Raises:
        CorruptCheckpoint: a file cannot be read, or holds an unknown or impossible setting.
    """
    extractor = _read(folder / "preprocessor_config.json")
    given = _from_extractor(extractor) | _own(folder)
    try:
        return Format(**given)
    except (ValueError, TypeError) as error:
        raise CorruptCheckpoint(
            f"'{folder.name}' asks for a melody or text format that is not possible: {error}"
        ) from error


def _from_extractor(config: dict[str, Any]) -> dict[str, Any]:
    """Settings out of the chroma extractor's configuration."""
    if not config:
        return {}
    rate = config.get("sampling_rate", Format.chroma_rate)
    n_fft, hop = config.get("n_fft", Format.n_fft), config.get("hop_length", Format.hop_length)
    return {
        "chroma_rate": rate,
        "n_fft": n_fft,
        "hop_length": hop,
        "melody_frame_rate": rate / hop,
        "melody_window": n_fft / rate,
        "window_seconds": float(config.get("chunk_length", Format.window_seconds)),
    }


def _own(folder: Path) -> dict[str, Any]:
    """Settings out of `voice2music.json`."""
    own = {key: value for key, value in _read(folder / OWN_FILE).items() if key not in ABOUT}
    known = {field.name for field in dataclasses.fields(Format)}
    if unknown := sorted(set(own) - known):
        raise CorruptCheckpoint(
            f"'{folder.name}/{OWN_FILE}' holds an unknown setting {unknown[0]!r}; "
            f"known are {', '.join(sorted(known))}."
        )
    if own.get("melody_frame_rate"):
        own.setdefault("melody_window", 1 / own["melody_frame_rate"])
    return {key: tuple(value) if isinstance(value, list) else value for key, value in own.items()}


def _read(file: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptCheckpoint(
            f"'{file.parent.name}/{file.name}' cannot be read as JSON. Fetch the model again."
        ) from error
    if not isinstance(content, dict):
        raise CorruptCheckpoint(f"'{file.parent.name}/{file.name}' is not a JSON object.")
    return content
