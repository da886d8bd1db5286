"""MusicGen-Melody as an engine: words and a tune in, tokens step by step, sound as it comes."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import MusicgenMelodyForConditionalGeneration, PreTrainedTokenizerBase

from voice2music.clip import Clip, fitted
from voice2music.engines.base import (
    Conditioning,
    Description,
    Part,
    Progress,
    Rendition,
    Settings,
)
from voice2music.engines.devices import beside
from voice2music.engines.memory import memory_errors_named
from voice2music.engines.musicgen.chroma import plain_chroma
from voice2music.engines.musicgen.codec import PieceDecoder, codec_mark
from voice2music.engines.musicgen.company import Company
from voice2music.engines.musicgen.decoder import Decoder
from voice2music.engines.musicgen.drawing import Sampling
from voice2music.engines.musicgen.format import Format
from voice2music.engines.musicgen.loop import Branch, Decoding, Passage, codebook_delays, guided
from voice2music.engines.musicgen.rows import melody_rows, null_rows
from voice2music.engines.musicgen.sounding import PieceSounder
from voice2music.engines.musicgen.spectra import TokenSpectra
from voice2music.engines.plan import plan_of
from voice2music.engines.texts import tensor_bytes, texts_recalled
from voice2music.engines.threads import on_one_core
from voice2music.errors import BadRequest, Cancelled, TooLong
from voice2music.recall import key_of
from voice2music.remarks import Remark, remark
from voice2music.request import LONGEST

SHORTEST: Final = 1.0  # seconds
OVERLAP: Final = 1 / 3  # of a window that the next one hears again (original: 12 of 30 s)
FIRST_PART, NEXT_PARTS = 1.0, 2.0  # seconds of tokens that are turned into sound together
USUAL_FAITHFUL: Final = 0.7  # of `Settings`, at which the voice counts as much as the words

ChromaSource = Literal["tracked", "plain"]


@dataclass(frozen=True)
class About:
    """Name and terms of a checkpoint, for the card."""

    name: str
    sha256: str
    licence: str
    commercial: bool


class MusicGen:
    """MusicGen-Melody (Copet et al. 2023) under the engines' contract. Stateless between calls.

    Args:
        model: in evaluation mode, on the device it is to run on.
        tokenizer: the text encoder's.
        form: how the checkpoint wants melody and text.
        about: what it is called and under what terms.
        chroma: "tracked" conditions on the tracked, tuning-corrected tune; "plain" on the chroma
            of the raw recording, as the original does (for comparison).
        spectra: what tokens sound like, where that is not left to the EnCodec decoder.
        decoder: the model's decoder laid out for decoding; a copy in float32 by default.

    Attributes:
        rate: Hz of its music.
        decoder: as given.
    """

    def __init__(
        self,
        model: MusicgenMelodyForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        form: Format,
        about: About,
        chroma: ChromaSource = "tracked",
        spectra: TokenSpectra | None = None,
        decoder: Decoding | None = None,
    ) -> None:
        self._model = model.eval()
        self.decoder: Decoding = decoder or Decoder(model.decoder, "float32")
        self._company, self._alone = Company(self.decoder), Company(self.decoder, seats=1)
        self._spectra = spectra
        self._tokenizer = tokenizer
        # It keeps the padding it was last asked for: two jobs at once would get each other's.
        self._one_reader = threading.Lock()
        self._texts = texts_recalled()
        self._form = form
        self._about = about
        self._chroma = chroma
        codec = model.audio_encoder.config
        self.rate: int = codec.sampling_rate
        self._hop: int = codec.hop_length
        self._window = max(8, math.floor(form.window_seconds * self.frame_rate))
        self._beside = beside(model.audio_encoder.device)

    @property
    def frame_rate(self) -> float:
        """Codec frames per second."""
        return self.rate / self._hop

    @cached_property
    def codec_mark(self) -> str:
        """Tells codecs apart, see `codec.codec_mark`."""
        return codec_mark(self._model.audio_encoder)

    def describe(self) -> Description:
        """What it is and what it cannot do."""
        limits = ["It hears which note of the scale you sing and when, but no quarter tones."]
        if "tune" not in self._form.roles:
            limits.append("It was trained to back a singer up, so it may not play your tune.")
        if "back" not in self._form.roles:
            limits.append("It was trained to replay a tune, so it may play yours even when it is "
                          "asked to back you up.")  # fmt: skip
        return Description(
            name="musicgen",
            title="MusicGen",
            checkpoint=self._about.name,
            sha256=self._about.sha256,
            licence=self._about.licence,
            commercial=self._about.commercial,
            rate=self.rate,
            shortest=SHORTEST,
            longest=LONGEST,
            limits=tuple(limits),
            together=True,
        )

    def generate(
        self,
        conditioning: Conditioning,
        settings: Settings,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Iterator[Part | Rendition]:
        """Make music; see `engines.base.Engine`. Parts come every few seconds of sound.

        `settings.guidance` is the classifier-free guidance scale of words and tune alike; where it
        is None, each has the checkpoint's own. `settings.faithful` moves the tune's: 0.7 leaves it
        as it is, 1 takes 3/7 more, at 0 the tune is not heard. Negative words take the place of
        the empty text in the unconditional run.

        Raises:
            BadRequest: shorter than a second. TooLong: over two minutes.
            Cancelled, OutOfMemory, CorruptCheckpoint: as their names say.
        """
        _check_length(conditioning.seconds)
        with memory_errors_named():
            yield from self._generate(conditioning, settings, progress, cancelled)

    @torch.inference_mode()
    def tokens(self, sound: Clip) -> NDArray[np.int16]:
        """What the codec writes for a sound, shape (codebooks, frames)."""
        return self._codes(sound).cpu().numpy().astype(np.int16)

    @torch.inference_mode()
    def reconstructed(self, sound: Clip) -> Clip:
        """A sound through the codec alone: as well as this checkpoint can sound at all."""
        mono = sound.mono().resampled(self.rate)
        decoded = self._pushed(self._sounder(), self._codes(mono), final=True)
        return Clip(np.clip(fitted(decoded, mono.samples.shape[1]), -1.0, 1.0), self.rate)

    def _codes(self, sound: Clip) -> Tensor:
        """Tokens of a sound, shape (codebooks, frames)."""
        codec = self._model.audio_encoder
        samples = torch.tensor(sound.mono().resampled(self.rate).samples, device=codec.device)
        codes: Tensor = codec.encode(samples[:, None]).audio_codes
        return codes[0, 0].cpu()

    def _generate(
        self,
        asked: Conditioning,
        settings: Settings,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Iterator[Part | Rendition]:
        frames = math.ceil(asked.seconds * self.frame_rate)
        words = self._words(asked)
        progress(0.0, "Reading the words and the tune")
        ends = iter(piece_ends(frames, self.frame_rate))
        end = next(ends, None)
        sounder = self._sounder()
        codes = torch.zeros((self.decoder.codebooks, frames), dtype=torch.long)
        for step in self._steps(codes, words, asked, settings, cancelled):
            progress(step.share * 0.99, f"{step.complete / self.frame_rate:.0f} s of music made")
            while end is not None and step.complete >= end:
                piece = self._pushed(sounder, codes[:, :end], final=end == frames)
                end = next(ends, None)
                if piece.shape[1]:
                    yield Part(Clip(np.clip(piece, -1.0, 1.0), self.rate))
        progress(1.0, "Done")
        whole = self._whole(sounder.whole(), asked.seconds)
        yield Rendition(whole, notes=tuple(self._notes(asked, words)))

    def _steps(
        self,
        codes: Tensor,
        words: "_Words",
        asked: Conditioning,
        settings: Settings,
        cancelled: Callable[[], bool],
    ) -> Iterator["_Step"]:
        """Fill `codes` window by window, one decoder step at a time."""
        generator = torch.Generator().manual_seed(settings.seed)
        sampling = Sampling(self._form.top_k, self._form.temperature, self._form.top_p)
        late = max(codebook_delays(codes.shape[0], self.decoder.channels))
        windows = window_starts(codes.shape[1], self._window, round(self._window * OVERLAP))
        total = sum(window.end - window.start - window.known + late for window in windows)
        done = 0
        for window in windows:
            branches = self._branches(asked, settings, words, window.start / self.frame_rate)
            part = codes[:, window.start : window.end]
            passage = Passage(self.decoder, branches, part, window.known, sampling, generator)
            _stop_if(cancelled)
            for taken in self._written(passage, settings):
                yield _Step(window.start + passage.complete(taken), (done + taken) / total)
                _stop_if(cancelled)
            done += passage.steps

    def _written(self, passage: Passage, settings: Settings) -> Iterator[int]:
        """Together with the passages of other requests unless told not to."""
        return (self._alone if settings.alone else self._company).written(passage)

    def branches(self, asked: Conditioning, settings: Settings) -> tuple[Branch, ...]:
        """The conditioned runs of the decoder for the first window."""
        return self._branches(asked, settings, self._words(asked), 0.0)

    def _branches(
        self, asked: Conditioning, settings: Settings, words: "_Words", start: float
    ) -> tuple[Branch, ...]:
        """The conditioned runs for the window that begins at `start`.

        A model that can do both, play the tune and back up a singer, is for the latter led by words
        and plan alone: with the tune in both runs, guidance does not press it to play the tune.
        """
        frames = self._model.config.chroma_length
        form = self._form.row_format(frames)
        if self._chroma == "plain" and asked.voice is not None:
            tune = self._plain_rows(asked.voice, start, frames)
        else:
            tune = torch.from_numpy(melody_rows(asked.melody, form, start, plan_of(asked)))
        backs = asked.role == "back" and {"tune", "back"} <= set(self._form.roles)
        unled = melody_rows(asked.melody, form, start) if backs else null_rows(form)
        nothing = self._projected(torch.from_numpy(unled))
        words_strength, voice_strength = self._strengths(settings)
        return guided(
            torch.cat([self._projected(tune), words.asked]),
            torch.cat([nothing, words.asked]),
            torch.cat([nothing, words.unwanted]),
            words=words_strength,
            voice=voice_strength,
        )

    def _strengths(self, settings: Settings) -> tuple[float, float]:
        """Of words and of voice."""
        words = voice = self._form.guidance
        if self._form.word_guidance is not None:
            words = self._form.word_guidance
        if settings.guidance is not None:
            words = voice = settings.guidance
        return words, voice * settings.faithful / USUAL_FAITHFUL

    def _plain_rows(self, voice: Clip, start: float, frames: int) -> Tensor:
        """Chroma of the recording from `start` on; after its end the last frame is held."""
        form = self._form
        whole = plain_chroma(voice, form.chroma_rate, form.n_fft, form.hop_length)
        at = round(start * form.melody_frame_rate) + torch.arange(frames)
        return whole[at.clamp(max=len(whole) - 1)]

    @torch.inference_mode()
    def _projected(self, rows: Tensor) -> Tensor:
        """Melody rows as hidden states, shape (frames, width)."""
        projection = getattr(self._model, "audio_enc_to_dec_proj", None)
        if projection is None:
            return rows.to(self.decoder.device)
        hidden: Tensor = projection(rows.to(projection.weight))
        return hidden

    def _words(self, asked: Conditioning) -> "_Words":
        """Both texts as hidden states of one length."""
        texts = (asked.text, asked.negative)
        with self._one_reader:
            longest = max(len(self._tokenizer(text)["input_ids"]) for text in texts)
        lengths = sorted(self._form.text_lengths)
        length = next((size for size in lengths if size >= longest), lengths[-1])
        wanted, unwanted = (self._told(text, length) for text in texts)
        return _Words(wanted, unwanted, longest > length)

    def _told(self, text: str, length: int) -> Tensor:
        """Text as hidden states; no text is all zero, as the model was trained to have none."""
        key = key_of(text, length)
        states = self._texts.get(key, lambda: self._encoded(text, length), tensor_bytes)
        return states if text else torch.zeros_like(states)

    @torch.inference_mode()
    def _encoded(self, text: str, length: int) -> Tensor:
        """Text as hidden states, shape (length, width); zero where it is padded."""
        model = self._model
        with self._one_reader:
            tokens = self._tokenizer(
                text, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            ).to(model.text_encoder.device)
        mask = tokens["attention_mask"]
        states = model.text_encoder(tokens["input_ids"], attention_mask=mask).last_hidden_state
        projection = getattr(model, "enc_to_dec_proj", None)
        states = states if projection is None else projection(states)
        hidden: Tensor = (states * mask[..., None])[0]
        return hidden

    def _sounder(self) -> PieceDecoder | PieceSounder:
        """What turns codes into sound."""
        codec = self._model.audio_encoder
        if self._spectra is not None:
            return PieceSounder(self._spectra, codec)
        return PieceDecoder(codec, self.decoder.channels)

    def _pushed(
        self, sounder: PieceDecoder | PieceSounder, codes: Tensor, *, final: bool
    ) -> NDArray[np.float32]:
        """The sounder's next piece, which on a card does not queue behind steps of the decoder."""
        with self._beside(), on_one_core() if self.decoder.small else nullcontext():
            return sounder.push(codes, final)

    def _whole(self, sound: NDArray[np.float32], seconds: float) -> Clip:
        """A clip of exactly `seconds`, brought down to full scale if over it."""
        samples = fitted(sound, round(seconds * self.rate))
        return Clip(samples / max(1.0, float(np.abs(samples).max())), self.rate)

    def _notes(self, asked: Conditioning, words: "_Words") -> Iterator[Remark]:
        """What was done differently from what was asked."""
        if words.cut:
            yield remark("tokens_cut", tokens=max(self._form.text_lengths))
        if asked.role == "back" and asked.melody is not None and "back" not in self._form.roles:
            yield remark("replays")


@dataclass(frozen=True, eq=False)
class _Words:
    """Hidden states of the text and of what the music should not be, (positions, width) each."""

    asked: Tensor
    unwanted: Tensor
    cut: bool


@dataclass(frozen=True)
class _Step:
    """After one step of the decoder: frames complete in all, share of all steps done."""

    complete: int
    share: float


@dataclass(frozen=True)
class Window:
    """A stretch of frames made in one pass; its first `known` frames were made before."""

    start: int
    end: int
    known: int


def window_starts(frames: int, window: int, overlap: int) -> tuple[Window, ...]:
    """Windows that cover `frames`; each after the first begins with `overlap` known frames."""
    windows = [Window(0, min(frames, window), 0)]
    while windows[-1].end < frames:
        start = windows[-1].end - overlap
        windows.append(Window(start, min(frames, start + window), overlap))
    return tuple(windows)


def piece_ends(frames: int, frame_rate: float) -> Iterator[int]:
    """After which frames sound is made: always the same, so that it is the same sound."""
    end = round(FIRST_PART * frame_rate)
    while end < frames:
        yield end
        end += round(NEXT_PARTS * frame_rate)
    yield frames


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("Stopped, as you asked.")


def _check_length(seconds: float) -> None:
    if seconds > LONGEST:
        raise TooLong(
            f"MusicGen makes at most {LONGEST:.0f} s of music; {seconds:.1f} s were asked for. "
            f"Choose a shorter length."
        )
    if not seconds >= SHORTEST:
        raise BadRequest(
            f"MusicGen makes at least {SHORTEST:.0f} s of music; {seconds:g} s were asked for."
        )
