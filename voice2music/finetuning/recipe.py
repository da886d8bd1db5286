"""What a fine-tuning is: which stage, what is trained, what is left out, how long."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from voice2music.errors import BadRequest

Prompts = Literal["none", "genre", "refined", "all"]
PROMPTS: tuple[Prompts, ...] = get_args(Prompts)
STAGES = {1: "voice to music", 2: "voice and words to music"}


Variant = Literal["voice", "words", "refined", "melody"]
VARIANTS: Mapping[Variant, str] = MappingProxyType(
    {
        "voice": "voice only",
        "words": "voice and words",
        "refined": "refined prompts",
        "melody": "voice, words and melody",
    }
)
"""The source work's three, and ours."""


@dataclass(frozen=True)
class AudioldmRecipe:
    """A fine-tuning of AudioLDM's UNet, which is grown first where it lacks an input.

    Args:
        variant: what it is given: the voice as a CLAP vector; with the genre; with the refined
            prompt; with any caption and the tune frame by frame.
        film: let words and voice scale and shift every block, if they do not yet.
        projections: train the projection of CLAP's vectors into the UNet (its class embedding) with
            it; without, only what comes after. CLAP itself never learns: other AudioLDMs share it.
        seconds: of a crop; never more than the checkpoint's window.
        batch: crops per step and process; gathered: steps whose gradients are added up.
        no_voice, no_words, no_tune: share of crops without, each by itself.
        nothing: share without any, for guidance.
        judged: held-out voices that takes are made for at every validation.
        steps: to make them in.
    """

    variant: Variant = "melody"
    film: bool = False
    projections: bool = True
    seconds: float = 10.0
    batch: int = 4
    gathered: int = 1
    no_voice: float = 0.1
    no_words: float = 0.1
    no_tune: float = 0.1
    nothing: float = 0.1
    judged: int = 4
    steps: int = 20

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise BadRequest(f"The variant is of {', '.join(VARIANTS)}, got {self.variant!r}.")
        shares = (self.no_voice, self.no_words, self.no_tune, self.nothing)
        if not all(0 <= share <= 1 for share in shares):
            raise BadRequest(f"Shares lie from 0 to 1, got {shares}.")
        if self.batch < 1 or self.gathered < 1 or self.seconds <= 0 or self.steps < 1:
            raise BadRequest("batch, gathered, seconds and steps are positive.")

    @property
    def words(self) -> Prompts:
        """The words that are given."""
        given: dict[Variant, Prompts] = {
            "voice": "none", "words": "genre", "refined": "refined", "melody": "all"
        }  # fmt: skip
        return given[self.variant]

    @property
    def told(self) -> str:
        """What it learns, in words."""
        return VARIANTS[self.variant]


@dataclass(frozen=True)
class MusicgenRecipe:
    """A fine-tuning of MusicGen-Melody. The dropouts are the original's (Copet et al. 2023).

    Args:
        stage: 1 gives the voice alone, 2 the voice and words.
        prompts: the words of stage 2: the genre, the refined prompt, or all captions in turn.
        lora: rank of low-rank adapters in the decoder; 0 trains the whole decoder. The projections
            of melody and words are trained whole in either case, the text encoder and the codec
            never.
        lora_alpha: scale of the adapters over their rank.
        seconds: of a crop; never more than the checkpoint's window.
        batch: crops per step and process; gathered: steps whose gradients are added up.
        no_voice, no_words: share of crops without, each by itself.
        nothing: share without both, for guidance.
        no_plan: share of the rest without beats and chords, where the checkpoint hears those.
        checkpointing: compute layers twice instead of remembering them: less memory, more time.
        judged: held-out voices that takes are made for at every validation.
    """

    stage: int = 2
    prompts: Prompts = "all"
    lora: int = 0
    lora_alpha: float = 2.0
    seconds: float = 10.0
    batch: int = 4
    gathered: int = 1
    no_voice: float = 0.5
    no_words: float = 0.5
    nothing: float = 0.2
    no_plan: float = 0.15
    checkpointing: bool = False
    judged: int = 4

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise BadRequest(f"The stage is {' or '.join(map(str, STAGES))}, got {self.stage}.")
        if self.prompts not in PROMPTS:
            raise BadRequest(f"prompts is of {', '.join(PROMPTS)}, got {self.prompts!r}.")
        shares = (self.no_voice, self.no_words, self.nothing, self.no_plan)
        if not all(0 <= share <= 1 for share in shares):
            raise BadRequest(f"Shares lie from 0 to 1, got {shares}.")
        if self.lora < 0 or self.batch < 1 or self.gathered < 1 or self.seconds <= 0:
            raise BadRequest("lora is 0 or a rank; batch, gathered and seconds are positive.")

    @property
    def words(self) -> Prompts:
        """The words that are given: none in stage 1."""
        return "none" if self.stage == 1 else self.prompts

    @property
    def told(self) -> str:
        """What it learns, in words."""
        words = "" if self.stage == 1 else f" (prompts: {self.prompts})"
        return f"{STAGES[self.stage]}{words}"
