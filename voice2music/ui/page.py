"""The page: what happens when its controls are used."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from voice2music.clip import Limits
from voice2music.ui import choose
from voice2music.ui.backend import Backend
from voice2music.ui.choose import NAMES, Choice
from voice2music.ui.doors import open_doors
from voice2music.ui.downloads import download
from voice2music.ui.drawing import Parts, Sheet, draw, recorder_words, stage_words, title_text
from voice2music.ui.listen import Listen
from voice2music.ui.safety import safe
from voice2music.ui.sing import Sing
from voice2music.ui.visit import Visit, open_visit
from voice2music.ui.words import words_in

CACHE = (3600, 4 * 3600)  # s: uploads are looked at every hour and removed when four hours old
STEPS = ("sing", "choose", "listen")
Shown = Callable[[Any], list[Any]]
WAITING_EVENTS = 64  # of all visitors together; more are turned away


def build(backend: Backend, root: Path, limits: Limits, jobs: int) -> gr.Blocks:
    """The whole page.

    Args:
        backend: the product.
        root: folder for the visitors' files.
        limits: of uploaded files.
        jobs: jobs of the models at once.
    """
    sheet = Sheet(words_in("en"))
    with gr.Blocks(
        title="voice2music", analytics_enabled=False, delete_cache=CACHE, fill_width=True
    ) as page:
        parts = draw(sheet, backend, limits)
        listen = Listen(backend, jobs)
        open_doors(backend, listen, limits, root)
        wiring = _Wiring(parts, root)
        sing = Sing(backend, limits, Path(get_upload_folder()))
        _wire_language(wiring, sheet, sing, listen, backend)
        _wire_sing(wiring, sing)
        _wire_choose(wiring, listen, backend)
        _wire_listen(wiring, listen)
    return page


class _Wiring:
    """Binds handlers of (visit, ...) to the page's events.

    A visit is opened by the first event of a page; the header's script sends one at once.
    """

    def __init__(self, parts: Parts, root: Path) -> None:
        self.parts, self.root = parts, root

    def script(
        self,
        event: Callable[..., object],
        handler: Callable[[Visit, dict[str, Any]], Any],
        outputs: list[Any],
        *,
        shown: Shown = lambda view: [view],
        queue: bool = True,
    ) -> None:
        """An event of one of our scripts: the handler gets what the script sent with it."""
        bound = self._bound(handler, shown)

        def call(visit: Visit | None, sent: gr.EventData) -> object:
            return bound(visit, sent._data or {})

        def generate(visit: Visit | None, sent: gr.EventData) -> Iterator[object]:
            yield from bound(visit, sent._data or {})

        several = inspect.isgeneratorfunction(handler)
        self._listen(event, generate if several else call, [], outputs, queue=queue)

    def control(
        self,
        event: Callable[..., object],
        handler: Callable[..., Any],
        inputs: list[Any],
        outputs: list[Any],
        *,
        shown: Shown = lambda view: [view],
        js: str | None = None,
    ) -> None:
        """An event of one of Gradio's controls: the handler gets the values of `inputs`."""
        self._listen(event, self._bound(handler, shown), inputs, outputs, js=js)

    def _bound(self, handler: Callable[..., Any], shown: Shown) -> Callable[..., Any]:
        """`handler` made safe, with a visit opened where there is none yet."""
        guarded = safe(handler)

        def call(visit: Visit | None, *values: object) -> list[Any]:
            visit = visit or open_visit(self.root)
            return [visit, *shown(guarded(visit, *values))]

        def generate(visit: Visit | None, *values: object) -> Iterator[list[Any]]:
            visit = visit or open_visit(self.root)
            for view in guarded(visit, *values):
                yield [visit, *shown(view)]

        return generate if inspect.isgeneratorfunction(handler) else call

    def _listen(
        self,
        event: Callable[..., object],
        call: Callable[..., object],
        inputs: list[Any],
        outputs: list[Any],
        queue: bool = True,
        js: str | None = None,
    ) -> None:
        event(
            call,
            [self.parts.visit, *inputs],
            [self.parts.visit, *outputs],
            show_progress="hidden",
            queue=queue,
            concurrency_limit=None if queue else "default",
            trigger_mode="multiple",
            api_visibility="private",
            js=js,
        )


def _wire_language(
    wiring: _Wiring, sheet: Sheet, sing: Sing, listen: Listen, backend: Backend
) -> None:
    parts = wiring.parts
    lists = [name for name in choose.choices_in(sheet.words, backend) if name in parts.controls]

    def speak(visit: Visit, event: dict[str, Any]) -> list[Any]:
        words = words_in(str(event.get("language", "en")))
        visit.language = words.language
        choices = choose.choices_in(words, backend)
        return [
            gr.update(words=words.part("-")),
            gr.update(words=recorder_words(words)),
            gr.update(words=words.part("voice"), value=sing.view(visit)),
            gr.update(words=stage_words(words), value=listen.view(visit)),
            *(title_text(i, words(f"step.{step}")) for i, step in enumerate(STEPS, start=1)),
            *sheet.updates(words),
            *(gr.update(choices=choices[name]) for name in lists),
        ]

    outputs = [
        parts.header,
        parts.recorder,
        parts.heard,
        parts.stage,
        *parts.titles,
        *(control for control, _ in sheet.entries),
        *(parts.controls[name] for name in lists),
    ]
    wiring.script(parts.header.spoken, speak, outputs, shown=lambda updates: updates)


def _wire_sing(wiring: _Wiring, sing: Sing) -> None:
    parts = wiring.parts
    outputs = [parts.heard, parts.recorder]

    def shown(view: dict[str, Any]) -> list[Any]:
        return [view, {"has_voice": "url" in view}]

    for event, handler in (
        (parts.recorder.recorded, sing.recorded),
        (parts.recorder.example, sing.example),
        (parts.recorder.wordless, sing.wordless),
        (parts.heard.trimmed, sing.trimmed),
        (parts.heard.cleaned, sing.cleaned),
        (parts.heard.corrected, sing.corrected),
        (parts.heard.forgotten, sing.forgotten),
        (parts.stage.othergenre, sing.from_take),
    ):
        wiring.script(event, handler, outputs, shown=shown)
    clean_up = [parts.controls["separate"], parts.controls["denoise"]]
    for control in clean_up:
        wiring.control(control.input, sing.decided, clean_up, outputs, shown=shown)


def _wire_choose(wiring: _Wiring, listen: Listen, backend: Backend) -> None:
    parts = wiring.parts
    controls = [parts.controls[name] for name in NAMES]

    def make(visit: Visit, *values: object) -> Iterator[dict[str, Any]]:
        choice = choice_of(values)
        if cut := choose.too_many_words(choice, words_in(visit.language)):
            gr.Info(cut)
        yield from listen.make(visit, choice)

    def chords(visit: Visit, *values: object) -> str:
        return choose.chords_heard(choice_of(values), visit, backend)

    start = "(...values) => { v2m.begin(); return values; }"
    wiring.control(parts.buttons["make"].click, make, controls, [parts.stage], js=start)
    wiring.control(parts.buttons["chords"].click, chords, controls, [parts.controls["chords"]])
    parts.controls["own_genres"].change(
        lambda own: gr.update(visible=own),
        parts.controls["own_genres"],
        parts.controls["genre_two"],
        show_progress="hidden",
        api_visibility="private",
    )


def choice_of(values: tuple[Any, ...]) -> Choice:
    """The controls' values, in the order of `NAMES`, under their names."""
    named = dict(zip(NAMES, values, strict=True))
    return Choice(**named | {"players": tuple(named["players"] or ())})


def _wire_listen(wiring: _Wiring, listen: Listen) -> None:
    stage = wiring.parts.stage
    wiring.script(stage.another, listen.another, [stage])
    wiring.script(stage.again, listen.again, [stage])
    wiring.script(stage.cancelled, listen.cancelled, [stage], queue=False)
    wiring.script(stage.download, download, [wiring.parts.courier])
