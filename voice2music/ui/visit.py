"""One visitor's things: a folder of her own, her voice, her takes, her running job."""

import secrets
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from voice2music.analysis import Analysis
from voice2music.chords import Key
from voice2music.cleaning import Cleaned
from voice2music.clip import Clip
from voice2music.hearing import Result, memory
from voice2music.recall import Recall
from voice2music.request import Decision, Guide, Request
from voice2music.rhythm import Grid
from voice2music.take import Take, remove
from voice2music.ui.words import Said, words_in

MOST_TAKES = 24  # kept per visit; the oldest go first


@dataclass(frozen=True, eq=False)
class Voice:
    """A voice as it is to be used.

    Args:
        name: of the file, for downloads.
        title: shown over it; an example's name or "" for a recording.
        whole: the recording as it was decoded.
        guide: the beat it was sung to, on the recording's own time.
        start, end: the part that is used, seconds.
        separate, denoise: clean-up as decided.
        corrected: whether the tidied tune is used.
        source: the part in use after clean-up; None until it was heard.
        analysis: of `source`.
        cleaned: what clean-up did, once it was done.
        tidy: `source` snapped to its key and beat, once that was asked for.
        files: what the page plays, "whole" and "corrected".
    """

    name: str
    title: str
    whole: Clip
    guide: Guide | None
    start: float
    end: float
    separate: Decision = "auto"
    denoise: bool = False
    corrected: bool = False
    source: Clip | None = None
    analysis: Analysis | None = None
    cleaned: Cleaned | None = None
    tidy: Clip | None = None
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def part(self) -> Clip:
        """The part that is used, before clean-up."""
        return self.whole.cut(self.start, self.end)

    @property
    def part_guide(self) -> Guide | None:
        """The guide beat on the part's own time."""
        if self.guide is None:
            return None
        return replace(self.guide, first_downbeat=self.guide.first_downbeat - self.start)


@dataclass(frozen=True, eq=False)
class Kept:
    """A take of this visit and what made it.

    Args:
        name: its own on the page.
        slot: the column it came from.
        take: the take itself.
        request: what was asked, for this one take.
        source: the voice it was made from, None without one; `voice_name` its file's name.
        grid, key: the beats and the key that were asked for, on the take's own time.
        peaks, overlay: what its card draws, the latter in a file; worked out once.
        same: whether it is the same to the bit as the take it repeats; None for a new one.
    """

    name: str
    slot: str
    take: Take
    request: Request
    source: Clip | None
    voice_name: str
    grid: Grid
    key: Key
    peaks: list[float]
    overlay: Path | None
    same: bool | None = None


@dataclass(eq=False)
class Slot:
    """One column while it works.

    Args:
        name: "band", "musicgen" or "audioldm".
        genre: what it plays; model: the checkpoint, "" for the band.
        state: "waiting", "working", "done", "failed" or "stopped".
        place: jobs before this one while it waits.
        loading: whether its model is not in memory yet.
        share: in [0, 1]; remaining: seconds, None while unknown.
        error: why it failed.
        shares: of its takes by variation, some of which may be made at the same time.
        stretches: files of what can be heard already, by variation.
        takes: keys of its takes, in the order made.
        stop: set when the visitor has had enough.
    """

    name: str
    genre: str
    model: str = ""
    state: str = "waiting"
    place: int = 0
    loading: bool = False
    share: float = 0.0
    remaining: float | None = None
    error: Exception | None = None
    shares: dict[int, float] = field(default_factory=dict)
    stretches: dict[int, list[Path]] = field(default_factory=dict)
    takes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def busy(self) -> bool:
        """Whether it waits or works."""
        return self.state in ("waiting", "working")

    @property
    def sounds(self) -> list[Path]:
        """The stretches of the first take that is not done."""
        return self.stretches[min(self.stretches)] if self.stretches else []


@dataclass(eq=False)
class Visit:
    """Everything of one visitor. Lives in the session's state and nowhere else.

    Args:
        folder: for her files alone.
        voice, wordless: what the music is made from.
        separate, denoise: clean-up of the next voice.
        slots: the columns of the job at hand; kept: all takes by name.
        memory: what was heard in her voice; forgotten with it.
        play: the take that starts by itself, once; said: what a screen reader is told.
    """

    folder: Path
    language: str = "en"
    voice: Voice | None = None
    wordless: bool = False
    separate: Decision = "auto"
    denoise: bool = False
    slots: dict[str, Slot] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    memory: Recall[Result] = field(default_factory=memory)
    play: str = ""
    said: str = ""

    def file(self, ending: str) -> Path:
        """A new file of this visit whose name nobody can guess."""
        return self.folder / f"{secrets.token_hex(8)}{ending}"

    def named(self, name: str) -> Path:
        """A new file of this visit that a browser saves as `name`."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        return folder / name

    def url(self, path: Path | None) -> str:
        """The address under which the page fetches a file of this visit; "" for none."""
        return f"gradio_api/file={quote(path.as_posix())}" if path else ""

    def take(self, key: str) -> Kept:
        """The take of that name.

        Raises:
            BadRequest: it is not of this visit, or was dropped to make room.
        """
        if key not in self.kept:
            raise Said(words_in(self.language)("listen.unknown_take"))
        return self.kept[key]

    def keep(self, kept: Kept) -> None:
        """Remember a take; beyond `MOST_TAKES` the oldest goes, with its files."""
        self.kept[kept.name] = kept
        while len(self.kept) > MOST_TAKES:
            oldest = next(iter(self.kept))
            for slot in self.slots.values():
                slot.takes = [name for name in slot.takes if name != oldest]
            remove(self.kept.pop(oldest).take)

    def close(self) -> None:
        """Stop what runs, remove the files and forget what was heard."""
        for slot in self.slots.values():
            slot.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.memory.forget()


def open_visit(root: Path) -> Visit:
    """A new visit with an empty folder under `root` whose name nobody can guess."""
    folder = root / secrets.token_urlsafe(24)
    folder.mkdir(parents=True)
    return Visit(folder)
