"""REST and MCP: the page's functions for programs, under names that stay.

Gradio serves each as `/gradio_api/call/NAME`, describes them at `/gradio_api/openapi.json`, and
offers the same functions to language models when the MCP server is on; what a parameter means is
read from the docstrings here.
"""

import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import gradio as gr

from voice2music import pipeline
from voice2music.analysis import to_json
from voice2music.clip import Clip, Limits
from voice2music.errors import BadRequest
from voice2music.request import ENGINES, Decision, Request, Role
from voice2music.take import Take
from voice2music.ui.backend import Backend
from voice2music.ui.choose import known_models
from voice2music.ui.listen import Listen
from voice2music.ui.safety import safe

KEPT = 3600.0  # s that files of a finished call stay
NONE_ASKED = Request()


class Doors:
    """The functions for programs.

    Args:
        backend: the product.
        listen: the page's own step 3, whose queue programs share.
        limits: of uploaded files.
        root: folder for files.
    """

    def __init__(self, backend: Backend, listen: Listen, limits: Limits, root: Path) -> None:
        self.backend, self.listen, self.limits = backend, listen, limits
        self.root = root / "doors"

    def make(
        self,
        voice: str | None,
        genre: str,
        engines: list[str],
        role: Role,
        words: str,
        mood: str,
        negative: str,
        seconds: float,
        variations: int,
        seed: int,
        tempo: float,
        key: str,
        chords: str,
        faithful: float,
        happy: float,
        jazzy: float,
        musicgen: str,
        audioldm: str,
        separate: Decision,
        denoise: bool,
        corrected: bool,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Make music that follows a hummed or sung voice, or from words alone.

        Args:
            voice: Audio file of the voice; none to make music from words alone.
            genre: Name of a genre, see `styles`.
            engines: Which engines play: band, musicgen, audioldm.
            role: "tune" plays the tune on an instrument, "back" accompanies the singer.
            words: The user's own words on the music; needed where there is no voice.
            mood: A mood such as "dreamy"; may be empty.
            negative: What the music should not be; may be empty.
            seconds: Length of the music, 3 to 120; 0 is the voice's own length.
            variations: Takes per engine, 1 to 8.
            seed: Same seed and settings, same music.
            tempo: Beats per minute; 0 takes the tempo that is heard.
            key: For example "A minor"; empty takes the key that is heard.
            chords: For example "C | Am | F G"; empty finds chords for the tune.
            faithful: 1 follows the voice closely, 0 leaves the models free.
            happy: Bends the chords from sadder (-1) to happier (1).
            jazzy: Bends the chords from plainer (-1) to jazzier (1).
            musicgen: Checkpoint of the first model, see `checkpoints`; empty for the default.
            audioldm: Checkpoint of the second model, see `checkpoints`; empty for the default.
            separate: Take the voice out of a song first: "auto", "yes" or "no".
            denoise: Take noise off the voice first.
            corrected: Snap the voice to its key and beat first.

        Returns:
            What is known of each take, with the names of its files; and the files.
        """
        chosen = {"musicgen": musicgen, "audioldm": audioldm}
        request = Request.from_json(
            {
                "genre": genre,
                "engines": [name for name in ENGINES if name in engines],
                "role": role,
                "words": words,
                "mood": mood,
                "negative": negative,
                "seconds": seconds or None,
                "variations": int(variations),
                "seed": int(seed),
                "tempo": tempo or None,
                "key": key or None,
                "chords": chords or None,
                "faithful": faithful,
                "happy": happy,
                "jazzy": jazzy,
                "checkpoints": known_models(chosen, self.backend.models()),
                "separate": separate,
                "denoise": denoise,
                "corrected": corrected,
            }
        )
        clip = self._read(voice) if voice else None
        if clip is None and not request.words:
            raise BadRequest("Give a voice, or say in `words` what the music should be.")
        return self._made(request, clip)

    def analyse(self, voice: str | None) -> dict[str, Any]:
        """What is heard in a voice: f0, notes, key, tempo, beats, chords and findings.

        Args:
            voice: Audio file of one voice that hums or sings.

        Returns:
            The analysis; times in seconds, f0 in Hz every 10 ms.
        """
        if not voice:
            raise BadRequest("Give an audio file as `voice`.")
        return to_json(self.backend.analyse(self._read(voice), None))

    def styles(self) -> list[dict[str, str]]:
        """List the genres by name and title.

        Returns:
            One entry for each genre.
        """
        return [{"name": name, "title": title} for name, title in self.backend.genres().items()]

    def checkpoints(self) -> list[dict[str, Any]]:
        """List the models: engine, licence, and whether they are on this machine.

        Returns:
            One entry for each checkpoint.
        """
        return [vars(model) for model in self.backend.models()]

    def _read(self, voice: str) -> Clip:
        return self.backend.read(Path(voice), self.limits)

    def _made(self, request: Request, clip: Clip | None) -> tuple[list[dict[str, Any]], list[str]]:
        """The job itself, in the page's own queue."""
        folder = self._folder()
        takes: list[dict[str, Any]] = []
        files: list[str] = []
        with self.listen.models.turn(lambda: False) as turn:
            for _ in turn.places():
                pass
            for event in self.backend.takes(request, clip, folder):
                if isinstance(event, Take):
                    takes.append(told_of(event))
                    files.extend(map(str, files_of(event)))
                elif isinstance(event, pipeline.Failed):
                    takes.append({"engine": event.engine, "error": str(event.error)})
        return takes, files

    def _folder(self) -> Path:
        """A folder for one call; those of calls that ended long ago are removed."""
        self.root.mkdir(exist_ok=True)
        for old in self.root.iterdir():
            if time.time() - old.stat().st_mtime > KEPT:
                shutil.rmtree(old, ignore_errors=True)
        folder = self.root / secrets.token_urlsafe(24)
        folder.mkdir()
        return folder


def files_of(take: Take) -> list[Path]:
    """All files of a take."""
    own = (take.music, take.mix, take.voice, take.json, take.midi, take.musicxml)
    return [*(path for path in own if path is not None), *take.stems.values()]


def told_of(take: Take) -> dict[str, Any]:
    """What a program wants to know of a take; files by their names."""
    names = {
        name: path.name
        for name in ("music", "mix", "voice", "json", "midi", "musicxml")
        if (path := getattr(take, name)) is not None
    }
    return {
        "engine": take.engine,
        "variation": take.variation,
        "seconds": take.seconds,
        "took": take.took,
        "made_by": take.made_by,
        "licence": take.licence,
        "commercial": take.commercial,
        "follows": take.follow.overall if take.follow else None,
        "verdict": take.follow.words if take.follow else None,
        "notes": [str(note) for note in take.notes],
        "files": names | {"stems": [path.name for path in take.stems.values()]},
    }


def open_doors(backend: Backend, listen: Listen, limits: Limits, root: Path) -> None:
    """Add the endpoints /make, /analyse, /styles and /checkpoints to the page being built."""
    doors = Doors(backend, listen, limits, root)
    inputs = _inputs(backend)
    outputs = [gr.JSON(visible=False), gr.File(visible=False, file_count="multiple")]
    button = gr.Button(visible=False)
    button.click(
        safe(doors.make), inputs, outputs, api_name="make", concurrency_limit=None, queue=True
    )
    voice = gr.Audio(visible=False, type="filepath")
    button.click(
        safe(doors.analyse), voice, gr.JSON(visible=False), api_name="analyse", concurrency_limit=2
    )
    gr.api(doors.styles, api_name="styles")
    gr.api(doors.checkpoints, api_name="checkpoints")


def _inputs(backend: Backend) -> list[gr.Component]:
    """Hidden controls that tell Gradio the kind and default of each parameter of `make`."""
    default = NONE_ASKED
    hidden: dict[str, Any] = {"visible": False}
    decisions = ["auto", "yes", "no"]
    models = [model.name for model in backend.models()]
    return [
        gr.Audio(type="filepath", label="voice", **hidden),
        gr.Dropdown(list(backend.genres()), value=default.genre, label="genre", **hidden),
        gr.CheckboxGroup(list(ENGINES), value=["band"], label="engines", **hidden),
        gr.Radio(["tune", "back"], value=default.role, label="role", **hidden),
        gr.Textbox("", label="words", **hidden),
        gr.Textbox("", label="mood", **hidden),
        gr.Textbox("", label="negative", **hidden),
        gr.Number(0, label="seconds", **hidden),
        gr.Number(1, precision=0, label="variations", **hidden),
        gr.Number(0, precision=0, label="seed", **hidden),
        gr.Number(0, label="tempo", **hidden),
        gr.Textbox("", label="key", **hidden),
        gr.Textbox("", label="chords", **hidden),
        gr.Number(default.faithful, label="faithful", **hidden),
        gr.Number(default.happy, label="happy", **hidden),
        gr.Number(default.jazzy, label="jazzy", **hidden),
        gr.Dropdown(["", *models], value="", label="musicgen", **hidden),
        gr.Dropdown(["", *models], value="", label="audioldm", **hidden),
        gr.Radio(decisions, value=default.separate, label="separate", **hidden),
        gr.Checkbox(default.denoise, label="denoise", **hidden),
        gr.Checkbox(default.corrected, label="corrected", **hidden),
    ]
