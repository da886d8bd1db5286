"""The page: its controls, in three steps, and what happens when they are used."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from voice2music.clip import Limits
from voice2music.ui import choose
from voice2music.ui.backend import Backend
from voice2music.ui.choose import NAMES, Choice
from voice2music.ui.downloads import download
from voice2music.ui.listen import Listen
from voice2music.ui.safety import safe
from voice2music.ui.sing import Sing
from voice2music.ui.visit import Visit, open_visit
from voice2music.ui.words import LANGUAGES, Words, words_in

CACHE = (3600, 4 * 3600)  # s: uploads are looked at every hour and removed when four hours old
LONGEST_RECORDING = 90  # s


@dataclass
class Sheet:
    """Which text of which control is which sentence, so that a language is changed in one go."""

    words: Words
    entries: list[tuple[Any, dict[str, str]]] = field(default_factory=list)

    def add(self, kind: Callable[..., Any], *, texts: dict[str, str], **options: Any) -> Any:
        """A control of `kind`; `texts` says which of its texts (label, info, …) is which key."""
        shown = {name: self.words(key) for name, key in texts.items()}
        control = kind(**shown, **options)
        self.entries.append((control, texts))
        return control

    def updates(self, words: Words) -> list[dict[str, Any]]:
        """What Gradio is told to change all texts, in the order of `entries`."""
        return [
            gr.update(**{name: words(key) for name, key in texts.items()})
            for _, texts in self.entries
        ]


@dataclass
class Parts:
    """The page's parts that handlers read or write."""

    visit: gr.State
    header: gr.HTML
    recorder: gr.HTML
    heard: gr.HTML
    stage: gr.HTML
    courier: gr.HTML
    titles: list[gr.HTML]
    controls: dict[str, Any]
    buttons: dict[str, Any]


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
        parts = _draw(sheet, backend, limits)
        _wire(page, parts, sheet, backend, root, limits, jobs)
    return page


# ---- drawing -------------------------------------------------------------------------------


def _draw(sheet: Sheet, backend: Backend, limits: Limits) -> Parts:
    words = sheet.words
    visit = gr.State(None, delete_callback=_close)
    header = _script(
        "header", "v-top", "'spoken'", words=words.part("-"), languages=[list(x) for x in LANGUAGES]
    )
    titles: list[gr.HTML] = []
    controls: dict[str, Any] = {}
    buttons: dict[str, Any] = {}
    with gr.Row(elem_classes="v-rooms"):
        with gr.Column(elem_classes="v-left"):
            with gr.Column(elem_classes="v-room", elem_id="sing"):
                titles.append(_title(1, "sing", words))
                recorder = _script(
                    "recorder",
                    "v-sing",
                    "'recorded' 'example' 'wordless'",
                    words=_recorder_words(words),
                    examples=[{"name": name} for name in backend.examples],
                    limits={
                        "seconds": LONGEST_RECORDING,
                        "megabytes": limits.max_bytes // 2**20,
                    },
                )
                heard = _script(
                    "heard",
                    "v-heard",
                    "'trimmed' 'cleaned' 'corrected' 'forgotten'",
                    words=words.part("voice"),
                )
            with gr.Column(elem_classes="v-room", elem_id="choose"):
                titles.append(_title(2, "choose", words))
                _draw_choose(sheet, backend, controls, buttons)
        with gr.Column(elem_classes="v-room v-right", elem_id="listen"):
            titles.append(_title(3, "listen", words))
            stage = _script(
                "stage",
                "v-stage",
                "'cancelled' 'another' 'again' 'othergenre' 'download'",
                words=_stage_words(words),
            )
    courier = gr.HTML(
        {},
        html_template="<span></span>",
        js_on_load="v2m.courier(element, props, watch)",
        elem_classes="v-courier",
    )
    return Parts(visit, header, recorder, heard, stage, courier, titles, controls, buttons)


def _script(name: str, box: str, events: str, **props: Any) -> gr.HTML:
    """A part drawn by its own script; `events` are what it may trigger."""
    mount = f"v2m.mount{name.capitalize()}"
    arguments = "element, trigger, props, upload, watch"
    if name != "recorder":
        arguments = "element, trigger, props, watch"
    return gr.HTML(
        {},
        html_template=f'<div class="{box}"></div>',
        js_on_load=f"/* {events} */ {mount}({arguments})",
        apply_default_css=False,
        elem_id=f"v-{name}",
        **props,
    )


def _title(number: int, step: str, words: Words) -> gr.HTML:
    return gr.HTML(_title_text(number, words(f"step.{step}")), apply_default_css=False)


def _title_text(number: int, text: str) -> str:
    return f'<h2 class="v-step"><span>{number}</span>{text}</h2>'


def _draw_choose(
    sheet: Sheet, backend: Backend, controls: dict[str, Any], buttons: dict[str, Any]
) -> None:
    lists = choose.choices_in(sheet.words, backend)
    models = backend.models()
    default = Choice()

    def add(name: str, kind: Callable[..., Any], text: str, hint: str = "", **options: Any) -> None:
        texts = {"label": text} | ({"info": hint} if hint else {})
        place = options.pop("placeholder_key", "")
        if place:
            texts["placeholder"] = place
        if name in lists:
            options["choices"] = lists[name]
        value = options.pop("value", getattr(default, name, None))
        controls[name] = sheet.add(kind, texts=texts, value=value, **options)

    with gr.Row(elem_classes="v-pair"):
        add("genre", gr.Dropdown, "choose.genre", filterable=True, elem_id="genre")
        add("mood", gr.Dropdown, "choose.mood", allow_custom_value=True)
    add("own_genres", gr.Checkbox, "choose.own_genres", elem_classes="v-small-check")
    add("genre_two", gr.Dropdown, "choose.genre_two", visible=False)
    add("role", gr.Radio, "choose.role", elem_classes="v-radio", elem_id="role")
    with gr.Row(elem_classes="v-pair v-wide-first"):
        add("words", gr.Textbox, "choose.words", placeholder_key="choose.words_hint", lines=1)
        add("length", gr.Dropdown, "choose.length", filterable=False)
    buttons["more"] = sheet.add(
        gr.Accordion, texts={"label": "choose.more"}, open=False, elem_classes="v-more"
    )
    with buttons["more"]:
        _draw_more(sheet, add, buttons, models)
    buttons["make"] = sheet.add(
        gr.Button,
        texts={"value": "choose.make"},
        variant="primary",
        size="lg",
        elem_id="make",
    )


def _draw_more(
    sheet: Sheet, add: Callable[..., None], buttons: dict[str, Any], models: list[Any]
) -> None:
    with gr.Row(elem_classes="v-pair"):
        add("tempo", gr.Number, "more.tempo", "more.tempo_hint", minimum=0, maximum=300)
        add("key", gr.Dropdown, "more.key")
    add("chords", gr.Textbox, "more.chords", "more.chords_hint", lines=2, elem_id="chords")
    buttons["chords"] = sheet.add(
        gr.Button, texts={"value": "more.chords_use"}, size="sm", elem_classes="v-quiet-button"
    )
    bend = {"minimum": -1, "maximum": 1, "step": 0.1, "buttons": []}
    share = {"minimum": 0, "maximum": 1, "step": 0.05, "buttons": []}
    with gr.Row(elem_classes="v-pair"):
        add("happy", gr.Slider, "more.happy", **bend)
        add("jazzy", gr.Slider, "more.jazzy", **bend)
    add("faithful", gr.Slider, "more.faithful", "more.faithful_hint", **share)
    add("negative", gr.Textbox, "more.negative", lines=1)
    add("players", gr.CheckboxGroup, "more.players", value=["band", "musicgen", "audioldm"])
    with gr.Row(elem_classes="v-pair"):
        add("variations", gr.Slider, "more.variations", minimum=1, maximum=4, step=1, buttons=[])
        add("seed", gr.Number, "more.seed", minimum=0, maximum=2**31 - 1, precision=0)
    with gr.Row(elem_classes="v-pair"):
        first = choose.default_model("musicgen", models)
        add("first", gr.Dropdown, "more.first", value=first)
        second = choose.default_model("audioldm", models)
        add("second", gr.Dropdown, "more.second", value=second)
    with gr.Row(elem_classes="v-pair"):
        add("guidance", gr.Slider, "more.guidance", "more.guidance_hint", minimum=0, maximum=15,
            step=0.5, buttons=[])  # fmt: skip
        add("steps", gr.Slider, "more.steps", "more.steps_hint", minimum=0, maximum=200, step=5,
            buttons=[])  # fmt: skip
    with gr.Row(elem_classes="v-pair"):
        add("start_from", gr.Dropdown, "more.start_from", filterable=False)
        add("strength", gr.Slider, "more.strength", **share)
    with gr.Row(elem_classes="v-pair"):
        add("separate", gr.Dropdown, "more.separate", value="auto", filterable=False)
        add("denoise", gr.Checkbox, "more.denoise", value=False, elem_classes="v-small-check")


def _recorder_words(words: Words) -> dict[str, str]:
    return words.part("record", "guide", "latency", "backing", "mic", "voice", "example")


def _stage_words(words: Words) -> dict[str, str]:
    return words.part("listen", "download")


# ---- wiring --------------------------------------------------------------------------------


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
            gr.update(words=_recorder_words(words)),
            gr.update(words=words.part("voice"), value=sing.view(visit)),
            gr.update(words=_stage_words(words), value=listen.view(visit)),
            *(
                _title_text(i + 1, words(f"step.{step}"))
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

    def decided(visit: Visit, separate: Any, denoise: bool) -> Iterator[list[Any]]:
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

    def make(visit: Visit, *values: Any) -> Iterator[dict[str, Any]]:
        choice = choice_of(values)
        if cut := choose.too_many_words(choice, words_in(visit.language)):
            gr.Info(cut)
        yield from listen.make(visit, choice)

    def chords(visit: Visit, *values: Any) -> str:
        return choose.chords_heard(choice_of(values), visit, backend)

    parts.buttons["make"].click(
        safe(make),
        [parts.visit, *controls],
        parts.stage,
        show_progress="hidden",
        concurrency_limit=None,
        trigger_mode="multiple",
        api_visibility="private",
        js="(...values) => { v2m.audio(); return values; }",
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
    event: Any,
    handler: Callable[[Visit, dict[str, Any]], Any],
    parts: Parts,
    outputs: Any,
    shown: Callable[[Any], Any] = lambda view: view,
    queue: bool = True,
) -> None:
    """Bind a script's event to a handler of (visit, the event's data)."""

    def call(visit: Visit, data: gr.EventData) -> Any:
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


def _close(visit: Visit | None) -> None:
    if visit is not None:
        visit.close()
