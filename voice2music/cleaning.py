"""What is done to a recording before its voice is heard: the music taken out, the noise taken off.

The rules, and the measurements behind them, are in `benchmarks/cleanup.md`:

- The music behind a voice is taken out by itself ("auto") where music is surely heard and a model
  for it is on this machine. Where music is perhaps heard (loud music hides the voice's own pitch),
  it is taken out on trial, and the recording is looked at again with the pitch of the voice found.
  Where too little singing is left, a hum was mistaken for an instrument: the recording is kept.
- Noise is taken off only where that is asked for.

Nothing is lost: the caller keeps the recording, and "no" leaves it as it is.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from voice2music.clip import Clip
from voice2music.findings import MUSIC_BEHIND
from voice2music.pitch import track
from voice2music.quality import quality
from voice2music.remarks import Remark, remark
from voice2music.request import Decision

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]

SURELY = MUSIC_BEHIND  # certainty of music from which it is taken out
PERHAPS = 0.05  # certainty from which it is worth a trial; solo voices and hums stay under 0.02
ON_TRIAL = 0.2  # certainty that the second look must reach; solo voices and hums stay at 0
LEAST_LEFT = 1 / 3  # of the sung time before, that must be left after the music was taken out


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A recording ready to be heard.

    Args:
        clip: the voice, as long as the recording, at its rate and with its channels.
        remarks: what was done or not done.
        separated: whether music was taken out.
        denoised: whether noise was taken off.
    """

    clip: Clip
    remarks: tuple[Remark, ...] = ()
    separated: bool = False
    denoised: bool = False


def clean(
    clip: Clip,
    separate: Decision = "auto",
    denoise: bool = False,
    *,
    progress: Progress = lambda share, words: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Cleaned:
    """Clean a recording as asked.

    Args:
        clip: a voice, alone or with music.
        separate: take the voice out of the music: "yes", "no", or "auto" where music is heard.
        denoise: take noise off.
    Raises:
        MissingPackage, MissingCheckpoint: what was asked for is not installed; says how to get it.
        TooLong: over ten minutes, where music is to be taken out.
        Cancelled: as its name says.
    """
    done = Cleaned(clip)
    if separate == "yes":
        done = _taken_out(clip, progress, cancelled)
    elif separate == "auto" and (certainty := music_behind(clip)) >= PERHAPS:
        done = _tried(clip, certainty, progress, cancelled)
    if not denoise:
        return done
    from voice2music.denoising import denoise as without_noise

    quiet = without_noise(done.clip, cancelled=cancelled)
    return Cleaned(quiet, (*done.remarks, remark("denoised")), done.separated, denoised=True)


def music_behind(clip: Clip, voice: Clip | None = None) -> float:
    """How surely music plays behind the voice, in [0, 1].

    Args:
        voice: the voice alone, where it is known; the recording itself where not.
    """
    pitch = track((voice or clip).mono())
    return quality(clip.mono(), pitch).accompaniment


def _taken_out(clip: Clip, progress: Progress, cancelled: Callable[[], bool]) -> Cleaned:
    from voice2music.separation import separate

    parts = separate(clip, progress=progress, cancelled=cancelled)
    return Cleaned(parts.voice, (parts.remark,), separated=True)


def _tried(
    clip: Clip, certainty: float, progress: Progress, cancelled: Callable[[], bool]
) -> Cleaned:
    """The music taken out, or the recording as it was where that would not do good."""
    from voice2music import separation

    if not separation.available():
        told = (remark("left_in", command=separation.INSTALL),)
        return Cleaned(clip, told if certainty >= SURELY else ())
    done = _taken_out(clip, progress, cancelled)
    if certainty < SURELY and music_behind(clip, done.clip) < ON_TRIAL:
        return Cleaned(clip)
    if _sung(done.clip) < LEAST_LEFT * _sung(clip):
        log.info("separation left too little of the voice; the recording is kept")
        return Cleaned(clip, (remark("kept_whole"),))
    return done


def _sung(clip: Clip) -> int:
    """Frames in which a voice is heard."""
    return int(track(clip.mono()).voiced.sum())
