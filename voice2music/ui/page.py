"""The page: what happens when its controls are used."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from voice2music.clip import Limits
from voice2music.request import Decision
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
        _wire(page, parts, sheet, backend, root, limits, jobs)
    return page


def _wire(
    page: gr.Blocks,
    parts: Parts,
    sheet: Sheet,
    backend: Backend,
    root: Path,
    limits: Limits,
    jobs: int,
) -> None:
    sing = Sing(backend, limits, Path(get_upload_folder()))
    listen = Listen(backend, jobs)
    page.load(lambda: open_visit(root), None, parts.visit, api_visibility="private")
    open_doors(backend, listen, limits, root)
    _wire_language(parts, sheet, sing, listen, backend)
    _wire_sing(parts, sing)
    _wire_choose(parts, listen, backend)
    _wire_listen(parts, sing, listen)


def _wire_language(
    parts: Parts, sheet: Sheet, sing: Sing, listen: Listen, backend: Backend
) -> None:
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
            *(
                title_text(i + 1, words(f"step.{step}"))
                for i, step in enumerate(("sing", "choose", "listen"))
            ),
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
    _on(parts.header.spoken, speak, parts, outputs)


def _wire_sing(parts: Parts, sing: Sing) -> None:
    outputs = [parts.heard, parts.recorder]

    def shown(view: dict[str, Any]) -> list[Any]:
        return [view, {"has_voice": bool(view) and not view.get("wordless")}]

    for event, handler in (
        (parts.recorder.recorded, sing.recorded),
        (parts.recorder.example, sing.example),
        (parts.recorder.wordless, lambda visit, event: sing.wordless(visit)),
        (parts.heard.trimmed, sing.trimmed),
        (parts.heard.cleaned, sing.cleaned),
        (parts.heard.corrected, sing.corrected),
        (parts.heard.forgotten, lambda visit, event: sing.forgotten(visit)),
        (parts.stage.othergenre, sing.from_take),
    ):
        _on(event, handler, parts, outputs, shown)
    clean_up = [parts.controls["separate"], parts.controls["denoise"]]

    def decided(visit: Visit, separate: Decision, denoise: bool) -> Iterator[list[Any]]:
        yield shown(sing.view(visit))
        for view in sing.decided(visit, separate, denoise):
            yield shown(view)

    for control in clean_up:
        control.input(
            safe(decided),
            [parts.visit, *clean_up],
            outputs,
            show_progress="hidden",
            api_visibility="private",
        )


def _wire_choose(parts: Parts, listen: Listen, backend: Backend) -> None:
    controls = [parts.controls[name] for name in NAMES]

    def make(visit: Visit, *values: object) -> Iterator[dict[str, Any]]:
        choice = choice_of(values)
        if cut := choose.too_many_words(choice, words_in(visit.language)):
            gr.Info(cut)
        yield from listen.make(visit, choice)

    def chords(visit: Visit, *values: object) -> str:
        return choose.chords_heard(choice_of(values), visit, backend)

    parts.buttons["make"].click(
        safe(make),
        [parts.visit, *controls],
        parts.stage,
        show_progress="hidden",
        concurrency_limit=None,
        trigger_mode="multiple",
        api_visibility="private",
        js="(...values) => { v2m.begin(); return values; }",
    )
    parts.buttons["chords"].click(
        safe(chords),
        [parts.visit, *controls],
        parts.controls["chords"],
        show_progress="hidden",
        api_visibility="private",
    )
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


def _wire_listen(parts: Parts, sing: Sing, listen: Listen) -> None:
    stage = parts.stage
    _on(stage.another, listen.another, parts, stage)
    _on(stage.again, listen.again, parts, stage)
    _on(stage.cancelled, listen.cancelled, parts, stage, queue=False)
    _on(stage.download, download, parts, parts.courier)


def _on(
    event: Callable[..., object],
    handler: Callable[[Visit, dict[str, Any]], Any],
    parts: Parts,
    outputs: object,
    shown: Callable[[Any], Any] = lambda view: view,
    queue: bool = True,
) -> None:
    """Bind a script's event to a handler of (visit, the event's data)."""

    def call(visit: Visit, data: gr.EventData) -> object:
        return shown(handler(visit, data._data or {}))

    def generate(visit: Visit, data: gr.EventData) -> Iterator[Any]:
        for view in handler(visit, data._data or {}):
            yield shown(view)

    event(
        safe(generate if inspect.isgeneratorfunction(handler) else call),
        parts.visit,
        outputs,
        show_progress="hidden",
        queue=queue,
        concurrency_limit=None if queue else "default",
        trigger_mode="multiple",
        api_visibility="private",
    )
