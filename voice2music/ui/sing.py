"""Step 1 on the server: a voice comes in, is heard, trimmed, cleaned, tidied up."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from voice2music.analysis import Analysis, Finding
from voice2music.chords import Key, pitch_name
from voice2music.cleaning import Cleaned
from voice2music.clip import Limits, write
from voice2music.errors import BadAudio, BadRequest
from voice2music.findings import MUSIC_BEHIND, NOISY
from voice2music.request import Decision, Guide, Request
from voice2music.ui import plots
from voice2music.ui.backend import Backend
from voice2music.ui.cards import remark_text, take_title
from voice2music.ui.visit import Visit, Voice
from voice2music.ui.words import Said, Words, words_in

WHOLE = 45.0  # s; of a longer file only the first FIRST seconds are used until they are changed
FIRST = 30.0
SURE, LIKELY = 0.6, 0.3  # confidence from which a thing is said plainly, and with "probably"

View = dict[str, Any]


def stopping(heard: Analysis, words: Words) -> str:
    """Why no music can be made from this voice, "" where it can."""
    grave = [finding for finding in heard.findings if finding.severity == "stop"]
    return finding_text(grave[0], words) if grave else ""


class Sing:
    """The handlers of step 1. Each changes the visit and gives what the page then shows.

    Args:
        backend: the product.
        limits: of uploaded files.
        uploads: the folder in which Gradio puts what visitors upload.
    """

    def __init__(self, backend: Backend, limits: Limits, uploads: Path) -> None:
        self.backend, self.limits, self.uploads = backend, limits, uploads

    def recorded(self, visit: Visit, event: View) -> Iterator[View]:
        """A recording or a file was uploaded: shown at once, then heard."""
        path = self._uploaded(str(event.get("path", "")))
        name = "" if event.get("recorded") else str(event.get("name", ""))
        yield from self._take_in(visit, path, name, guide_of(event.get("guide")))

    def example(self, visit: Visit, event: View) -> Iterator[View]:
        """An example hum was chosen."""
        name = str(event.get("name", ""))
        if name not in self.backend.examples:
            known = ", ".join(self.backend.examples)
            raise BadRequest(f"There is no example {name!r}. Choose of {known}.")
        title = words_in(visit.language).get(f"example.{name}", name)
        yield from self._take_in(visit, self.backend.examples[name], title, None)

    def from_take(self, visit: Visit, event: View) -> Iterator[View]:
        """A take's tune becomes the voice: the voice it followed, or else its own music."""
        kept = visit.take(str(event.get("take", "")))
        title = words_in(visit.language)(
            "voice.of_take", title=take_title(kept, words_in(visit.language), self.backend)
        )
        if kept.source is None:
            yield from self._take_in(visit, kept.take.music, title, None)
            return
        visit.voice = Voice(
            kept.voice_name, title, kept.source, None, 0.0, kept.source.seconds, separate="no"
        )
        visit.wordless = False
        yield from self.hear(visit)

    def trimmed(self, visit: Visit, event: View) -> Iterator[View]:
        """Another part of the recording is to be used."""
        voice = _voice(visit)
        start, end = float(event.get("start", 0)), float(event.get("end", voice.whole.seconds))
        if not 0 <= start < end <= voice.whole.seconds + 0.01:
            raise BadRequest(f"A part from {start:g} to {end:g} s is not in this recording.")
        visit.voice = replace(voice, start=start, end=end, corrected=False)
        yield from self.hear(visit)

    def cleaned(self, visit: Visit, event: View) -> Iterator[View]:
        """Clean-up was asked for ("separate", "denoise") or taken back ("undo")."""
        voice = _voice(visit)
        changes: dict[str, View] = {
            "separate": {"separate": "yes"},
            "denoise": {"denoise": True},
            "undo": {"separate": "no", "denoise": False},
        }
        what = str(event.get("what", ""))
        if what not in changes:
            raise BadRequest(f"There is no clean-up {what!r}.")
        visit.voice = replace(voice, corrected=False, **changes[what])
        yield from self.hear(visit)

    def decided(self, visit: Visit, separate: Decision, denoise: bool) -> Iterator[View]:
        """Clean-up was set under "More"."""
        visit.separate, visit.denoise = separate, denoise
        if visit.voice is not None:
            visit.voice = replace(visit.voice, separate=separate, denoise=denoise, corrected=False)
            yield from self.hear(visit)
        else:
            yield self.view(visit)

    def corrected(self, visit: Visit, event: View) -> View:
        """The tune as sung, or tidied up; what is chosen here conditions the engines."""
        voice = _voice(visit)
        if voice.source is None or voice.analysis is None:
            raise BadRequest("The voice is still being heard. Try again in a moment.")
        on = bool(event.get("on"))
        if on and voice.tidy is None:
            clip = self.backend.correct(voice.source, voice.analysis)
            voice.files["corrected"] = write(clip, visit.file(".wav"))
            voice = replace(voice, tidy=clip)
        visit.voice = replace(voice, corrected=on)
        return self.view(visit)

    def wordless(self, visit: Visit, event: View) -> View:
        """No voice: the music will be made from words alone."""
        visit.memory.forget()
        visit.voice, visit.wordless = None, True
        return self.view(visit)

    def forgotten(self, visit: Visit, event: View) -> View:
        """The voice is removed."""
        visit.memory.forget()
        visit.voice, visit.wordless = None, False
        return self.view(visit)

    # ---- hearing ---------------------------------------------------------------------------

    def _take_in(self, visit: Visit, path: Path, title: str, guide: Guide | None) -> Iterator[View]:
        visit.memory.forget()
        whole = self.backend.read(path, self.limits)
        end = whole.seconds if whole.seconds <= WHOLE else FIRST
        visit.voice = Voice(path.stem, title, whole, guide, 0.0, end, visit.separate, visit.denoise)
        visit.wordless = False
        yield from self.hear(visit)

    def hear(self, visit: Visit) -> Iterator[View]:
        """Show the recording, then what is heard in it."""
        voice = _voice(visit)
        if "whole" not in voice.files:
            voice.files["whole"] = write(voice.whole, visit.file(".wav"))
        voice = visit.voice = replace(voice, source=None, analysis=None, cleaned=None, tidy=None)
        yield self.view(visit)
        hearing = self.backend.hearing(visit.memory)
        cleaned = hearing.cleaned(voice.part, voice.separate, voice.denoise)
        analysis = hearing.analysed(cleaned.clip, voice.part_guide)
        if visit.voice is not voice:
            visit.memory.forget()
            return  # another recording came in meanwhile, or none is wanted
        visit.voice = replace(voice, source=cleaned.clip, analysis=analysis, cleaned=cleaned)
        yield self.view(visit)

    def _uploaded(self, path: str) -> Path:
        """`path` if it names a file that a visitor uploaded; nothing else on the disk is read."""
        resolved = Path(path).resolve()
        if not resolved.is_relative_to(self.uploads.resolve()) or not resolved.is_file():
            raise BadAudio("The recording did not arrive. Record or choose it again.")
        return resolved

    # ---- what the page shows ---------------------------------------------------------------

    def view(self, visit: Visit) -> View:
        """The "what I heard" panel as the page draws it; None-like when there is nothing."""
        if visit.wordless:
            return {"wordless": True}
        voice = visit.voice
        if voice is None:
            return {}
        words = words_in(visit.language)
        view: View = {
            "title": voice.title or words("voice.yours"),
            "url": visit.url(voice.files["whole"]),
            "seconds": voice.whole.seconds,
            "trim": [voice.start, voice.end],
            "peaks": plots.peaks(voice.whole),
            "use_corrected": voice.corrected,
            "corrected": visit.url(voice.files.get("corrected")),
            "corrected_peaks": plots.peaks(voice.tidy) if voice.tidy else [],
            "shortened": words("voice.shortened", n=round(voice.end))
            if voice.whole.seconds > WHOLE and (voice.start, voice.end) == (0.0, FIRST)
            else "",
        }
        if voice.analysis is not None:
            view |= heard_view(voice, voice.analysis, words)
        return view


def heard_view(voice: Voice, heard: Analysis, words: Words) -> View:
    """Facts, picture and findings of an analysis, in the visitor's words."""
    return {
        "facts": facts(heard, words) if heard.notes else [],
        "roll": plots.piano_roll(heard) if heard.notes else "",
        "roll_label": _roll_label(heard, words),
        "findings": [
            {"severity": f.severity, "text": finding_text(f, words)} for f in heard.findings
        ],
        "cleaned": cleaned_text(voice.cleaned, words),
        "offer": _offers(voice, heard, words),
        "can_correct": bool(heard.notes) and not stopping(heard, words),
    }


def finding_text(finding: Finding, words: Words) -> str:
    """A finding in the visitor's language; the English sentence where there is none."""
    values = dict(finding.values)
    code = f"{finding.code}_{values['where']}" if "where" in values else finding.code
    return words.get(f"finding.{code}", finding.text, **values)


def cleaned_text(cleaned: Cleaned | None, words: Words) -> str:
    """What clean-up did, in the visitor's language."""
    return " ".join(remark_text(each, words) for each in cleaned.remarks) if cleaned else ""


def facts(heard: Analysis, words: Words) -> list[View]:
    """Key, tempo and range, each with how sure we are."""
    low, high = (pick(note.midi for note in heard.notes) for pick in (min, max))
    grid = heard.grid
    if grid.known:
        doubt = words("heard.guided")
    elif grid.ambiguous:
        doubt = words("heard.ambiguous")
    else:
        doubt = hedge(grid.confidence, words)
    return [
        {
            "label": words("heard.key"),
            "value": key_text(heard.key, words),
            "note": hedge(heard.key.confidence, words),
        },
        {
            "label": words("heard.tempo"),
            "value": f"{grid.tempo:.0f} {words('bpm')}",
            "note": doubt or words("heard.beats", n=grid.beats_per_bar),
        },
        {
            "label": words("heard.range"),
            "value": f"{note_text(low, heard.key, words)} – {note_text(high, heard.key, words)}",
            "note": words("heard.notes", n=len(heard.notes)),
        },
    ]


def hedge(confidence: float, words: Words) -> str:
    """How sure: nothing, "probably" or "perhaps"."""
    level = "sure" if confidence >= SURE else "likely" if confidence >= LIKELY else "perhaps"
    return words(f"heard.{level}")


def key_text(key: Key, words: Words) -> str:
    """A key in the visitor's language: "A minor", "la mineur"."""
    return words(f"heard.{key.mode}", note=_class_text(key.tonic, key, words))


def note_text(midi: int, key: Key, words: Words) -> str:
    """A note with its octave, C4 being the middle C."""
    return f"{_class_text(midi % 12, key, words)}{midi // 12 - 1}"


def guide_of(values: View | None) -> Guide | None:
    """The guide beat that the browser measured, checked.

    Raises:
        BadRequest: not numbers, or out of range.
    """
    if values is None:
        return None
    try:
        guide = Guide(
            tempo=float(values["tempo"]),
            beats_per_bar=int(values["beats_per_bar"]),
            first_downbeat=float(values["first_downbeat"]),
            latency=float(values["latency"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest("The guide beat did not arrive whole. Record it again.") from error
    return Request(guide=guide).guide  # which checks its ranges


def _class_text(pitch_class: int, key: Key, words: Words) -> str:
    name = pitch_name(pitch_class, key)
    accidental = name[1:].replace("#", "♯").replace("b", "♭")
    return words(f"note.{name[0]}") + accidental


def _roll_label(heard: Analysis, words: Words) -> str:
    if not heard.notes:
        return words("heard.no_tune")
    low, high = (pick(note.midi for note in heard.notes) for pick in (min, max))
    return words(
        "heard.roll",
        n=len(heard.notes),
        low=note_text(low, heard.key, words),
        high=note_text(high, heard.key, words),
        tempo=round(heard.grid.tempo),
        key=key_text(heard.key, words),
    )


def _offers(voice: Voice, heard: Analysis, words: Words) -> list[View]:
    """Clean-up that can be undone or would help."""
    if voice.cleaned is not None and (voice.cleaned.separated or voice.cleaned.denoised):
        return [{"what": "undo", "text": words("heard.clean_undo")}]
    offers = []
    if heard.accompaniment >= MUSIC_BEHIND and voice.separate != "yes":
        offers.append({"what": "separate", "text": words("heard.offer_separate")})
    if heard.snr < NOISY and not voice.denoise and heard.notes:
        offers.append({"what": "denoise", "text": words("heard.offer_denoise")})
    return offers


def _voice(visit: Visit) -> Voice:
    if visit.voice is None:
        raise Said(words_in(visit.language)("listen.nothing_chosen"))
    return visit.voice
