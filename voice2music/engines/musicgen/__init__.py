"""MusicGen-Melody: text and the voice's chroma in, EnCodec tokens out, music."""

from voice2music.engines.musicgen.engine import MusicGen
from voice2music.engines.musicgen.loading import load

__all__ = ["MusicGen", "load"]
