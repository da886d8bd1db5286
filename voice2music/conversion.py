"""Weights of other programs brought into our layout."""

from pathlib import Path

from voice2music.checkpoints import Checkpoint, locate
from voice2music.errors import BadRequest, CorruptCheckpoint


def convert(
    source: Path | str, out: Path | str, *, trust: bool = False, donor: Path | None = None
) -> Checkpoint:
    """Bring weights of another program into our layout.

    Args:
        source: a folder of an audiocraft fine-tune (`state_dict.bin`); or a CLAP (a file of
            laion_clap or of the original AudioLDM) that is to be an AudioLDM's ears.
        out: the folder to make, must not exist or be empty; for a CLAP, the AudioLDM's.
        trust: whether a pickle that holds more than tensors may be read, which runs any code
            that is in it. Only for files of your own.
        donor: a folder for the parts that the source lacks; see `convert_audiocraft`.
    Raises:
        CorruptCheckpoint: not a known format, damaged, or a pickle that is not trusted.
        MissingCheckpoint: another checkpoint is needed for it.
    """
    source, out = Path(source), Path(out)
    if source.is_file():
        from voice2music.engines.audioldm.parts import add_audio_tower

        return locate(add_audio_tower(source, locate(out).folder, trust=trust).absolute())
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequest(f"'{out}' exists already. Choose another folder to write to.")
    if (source / "state_dict.bin").is_file():
        from voice2music.engines.musicgen.audiocraft import convert_audiocraft

        return locate(convert_audiocraft(source, out, donor=donor, trust=trust).absolute())
    raise CorruptCheckpoint(
        f"'{source.name}' is not in a format that can be converted: a folder with audiocraft's "
        f"state_dict.bin and compression_state_dict.bin is, or a CLAP file of laion_clap (.pt)."
    )
