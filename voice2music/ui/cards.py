"""Takes and columns as the page's script draws them: plain values, every word translated."""

from dataclasses import replace
from typing import Any

from voice2music.analysis import Analysis
from voice2music.chroma import chromagram
from voice2music.clip import Clip, read
from voice2music.conditioning import tune_of
from voice2music.remarks import Remark
from voice2music.request import Request
from voice2music.take import Take
from voice2music.ui import plots
from voice2music.ui.backend import Backend
from voice2music.ui.choose import genre_text
from voice2music.ui.safety import told
from voice2music.ui.visit import Kept, Slot, Visit
from voice2music.ui.words import Words, words_in

ORDER = ("band", "musicgen", "audioldm")
MEASURES = ("pitch", "chords", "key", "beat")
AUDIO = ("wav", "flac", "mp3")


def stage_view(visit: Visit, backend: Backend) -> dict[str, Any]:
    """All of step 3: the columns of the job at hand, and the takes of earlier ones."""
    words = words_in(visit.language)
    current = {key for slot in visit.slots.values() for key in slot.takes}
    earlier = [kept for kept in reversed(visit.kept.values()) if kept.name not in current]
    return {
        "play": visit.play,
        "said": visit.said,
        "slots": [
            slot_view(visit.slots[name], visit, words, backend)
            for name in ORDER
            if name in visit.slots
        ],
        "earlier": [card_view(kept, visit, words, backend) for kept in earlier],
    }


def slot_view(slot: Slot, visit: Visit, words: Words, backend: Backend) -> dict[str, Any]:
    """One column; its takes in the order in which they follow the voice."""
    takes = sorted((visit.kept[key] for key in slot.takes), key=_closeness, reverse=True)
    cards = [card_view(kept, visit, words, backend) for kept in takes]
    for card in cards:
        card["title"] = words("listen.take_number", n=1 + slot.takes.index(card["id"]))
    if len(cards) > 1 and takes[0].take.follow is not None:
        cards[0]["best"] = True
    return {
        "slot": slot.name,
        "title": engine_title(slot, visit, words, backend),
        "genre": genre_title(slot.genre, words, backend),
        "state": slot.state,
        "share": slot.share,
        "words": progress_words(slot, words),
        "error": told(slot.error, words) if slot.error else "",
        "sounds": [visit.url(path) for path in slot.sounds],
        "takes": cards,
    }


def card_view(kept: Kept, visit: Visit, words: Words, backend: Backend) -> dict[str, Any]:
    """One take."""
    take = kept.take
    follow = take.follow
    return {
        "id": kept.name,
        "title": take_title(kept, words, backend),
        "seed": kept.request.seed,
        "seconds": take.seconds,
        "music": visit.url(take.music),
        "voice": visit.url(take.voice),
        "peaks": kept.peaks,
        "overlay": visit.url(kept.overlay),
        "overlay_label": words("listen.overlay"),
        "follow": follow
        and {
            "words": words(f"follow.{follow.verdict}"),
            "verdict": follow.verdict,
            "measures": [
                {
                    "name": words(f"follow.{name}"),
                    "value": getattr(follow, name).value,
                    "floor": getattr(follow, name).floor,
                }
                for name in MEASURES
            ],
        },
        "notes": [*_made_again(kept, words), *(remark_text(n, words) for n in take.notes)],
        "made_by": take.made_by if take.engine != "band" else words("band.made_by"),
        "licence": take.licence,
        "commercial": words("listen.commercial" if take.commercial else "listen.no_commercial"),
        "downloads": downloads(take),
        "tempo": kept.grid.tempo,
        "beats_per_bar": kept.grid.beats_per_bar,
        "downbeat": next((time for time in kept.grid.downbeats if time >= 0), 0.0),
    }


def remark_text(remark: Remark, words: Words) -> str:
    """A remark in the visitor's language; as it stands where there is no translation."""
    values = dict(remark.values)
    if "genre" in values:
        values["title"] = genre_text(str(values["genre"]), str(values["title"]), words)
    return words.get(f"remark.{remark.code}", remark.text, **values)


def downloads(take: Take) -> list[str]:
    """What can be downloaded of a take."""
    extras = {
        "stems": take.stems,
        "midi": take.midi,
        "musicxml": take.musicxml,
        "chords": take.chords,
    }
    return [*AUDIO, *(name for name, there in extras.items() if there), "json"]


def engine_title(slot: Slot, visit: Visit, words: Words, backend: Backend) -> str:
    """What a column is called: its engine, and its model where the other column has the same."""
    engines = {model.name: model.engine for model in backend.models()}
    own, *others = (
        engines.get(each.model, each.name)
        for each in (slot, *(other for other in visit.slots.values() if other is not slot))
    )
    title = words(f"engine.{own}")
    return f"{title} · {slot.model}" if own in others else title


def genre_title(name: str, words: Words, backend: Backend) -> str:
    """A genre's name on a card."""
    return genre_text(name, backend.genres().get(name, name), words)


def take_title(kept: Kept, words: Words, backend: Backend) -> str:
    """A take's name: genre, engine, and its number where there are several."""
    genre = genre_title(kept.request.genre_of(kept.slot), words, backend)
    return f"{genre} · {words(f'engine.{kept.take.engine}')}"


def progress_words(slot: Slot, words: Words) -> str:
    """Where a column stands: its place in the queue, or how far it is."""
    if slot.state == "waiting":
        return words("listen.waiting", n=slot.place) if slot.place else words("listen.next")
    percent = round(100 * slot.share)
    if slot.share <= 0:
        return words("listen.loading" if slot.loading else "listen.starting")
    if slot.remaining is None or slot.remaining < 1:
        return words("listen.working", percent=percent)
    if slot.remaining < 90:
        return words("listen.remaining_seconds", percent=percent, n=round(slot.remaining))
    return words("listen.remaining_minutes", percent=percent, n=max(2, round(slot.remaining / 60)))


def kept_of(
    visit: Visit,
    name: str,
    take: Take,
    request: Request,
    heard: Analysis | None,
    source: Clip | None,
    voice_name: str,
) -> Kept:
    """A finished take with everything that its card draws.

    Args:
        request: of the job; the kept one asks for this take alone.
        heard: the voice's analysis, None without one.
    """
    tune = tune_of(request, heard)
    music = read(take.music)
    overlay = None
    if tune.melody is not None:
        chroma = chromagram(music)
        overlay = visit.file(".html.txt")
        picture = plots.overlay(tune.melody.notes, chroma, take.seconds, tune.key)
        overlay.write_text(picture, encoding="utf-8")
    return Kept(
        name=name,
        slot=take.engine,
        take=take,
        request=replace(
            request,
            engines=(take.engine,),
            seed=request.seed + take.variation,
            variations=1,
        ),
        source=source,
        voice_name=voice_name,
        grid=tune.grid,
        key=tune.key,
        peaks=plots.peaks(music),
        overlay=overlay,
    )


def _closeness(kept: Kept) -> float:
    return kept.take.follow.overall if kept.take.follow else 0.0


def _made_again(kept: Kept, words: Words) -> list[str]:
    if kept.same is None:
        return []
    return [words("listen.again_identical" if kept.same else "listen.again_different")]
