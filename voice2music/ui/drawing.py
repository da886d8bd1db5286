"""The page's controls, in three steps, with every text by its key."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from voice2music.clip import Limits
from voice2music.ui import cards, choose
from voice2music.ui.backend import Backend, Model
from voice2music.ui.choose import Choice
from voice2music.ui.visit import Visit
from voice2music.ui.words import LANGUAGES, Words

LONGEST_RECORDING = 90  # s


@dataclass
class Sheet:
    """Which text of which control is which sentence, so that a language is changed in one go."""

    words: Words
    entries: list[tuple[Any, dict[str, str]]] = field(default_factory=list)

    def add(
        self, kind: Callable[..., gr.Component], *, texts: dict[str, str], **options: object
    ) -> gr.Component:
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


def draw(sheet: Sheet, backend: Backend, limits: Limits) -> Parts:
    """Everything on the page, inside `gr.Blocks`."""
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
                    words=recorder_words(words),
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
                words=stage_words(words),
            )
    courier = gr.HTML(
        {},
        html_template="<span></span>",
        js_on_load="v2m.courier(element, props, watch)",
        elem_classes="v-courier",
    )
    return Parts(visit, header, recorder, heard, stage, courier, titles, controls, buttons)


def _script(name: str, box: str, events: str, **props: object) -> gr.HTML:
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
    return gr.HTML(title_text(number, words(f"step.{step}")), apply_default_css=False)


def title_text(number: int, text: str) -> str:
    """A step's heading."""
    return f'<h2 class="v-step"><span>{number}</span>{text}</h2>'


def _draw_choose(
    sheet: Sheet, backend: Backend, controls: dict[str, Any], buttons: dict[str, Any]
) -> None:
    lists = choose.choices_in(sheet.words, backend)
    models = backend.models()
    default = Choice()

    def add(
        name: str, kind: Callable[..., gr.Component], text: str, hint: str = "", **options: object
    ) -> None:
        texts = {"label": text} | ({"info": hint} if hint else {})
        if "placeholder_key" in options:
            texts["placeholder"] = str(options.pop("placeholder_key"))
        if name in lists:
            options["choices"] = lists[name]
        value = options.pop("value", getattr(default, name, None))
        controls[name] = sheet.add(kind, texts=texts, value=value, **options)

    add("genre", gr.Dropdown, "choose.genre", filterable=True, elem_id="genre")
    add("own_genres", gr.Checkbox, "choose.own_genres", elem_classes="v-small-check")
    add("genre_two", gr.Dropdown, "choose.genre_two", visible=False)
    add("role", gr.Radio, "choose.role", elem_classes="v-radio", elem_id="role")
    with gr.Row(elem_classes="v-pair"):
        add("mood", gr.Dropdown, "choose.mood", allow_custom_value=True)
        add("length", gr.Dropdown, "choose.length", filterable=False)
    add(
        "words",
        gr.Textbox,
        "choose.words",
        placeholder_key="choose.words_hint",
        lines=1,
        max_lines=1,
    )
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
    sheet: Sheet, add: Callable[..., None], buttons: dict[str, Any], models: list[Model]
) -> None:
    bend = {"minimum": -1, "maximum": 1, "step": 0.1, "buttons": []}
    share = {"minimum": 0, "maximum": 1, "step": 0.05, "buttons": []}
    _subhead(sheet, "more.music")
    with gr.Row(elem_classes="v-pair"):
        add("tempo", gr.Number, "more.tempo", value=0)
        add("key", gr.Dropdown, "more.key")
    add(
        "chords",
        gr.Textbox,
        "more.chords",
        placeholder_key="more.chords_hint",
        lines=2,
        elem_id="chords",
    )
    buttons["chords"] = sheet.add(
        gr.Button, texts={"value": "more.chords_use"}, size="sm", elem_classes="v-quiet-button"
    )
    add("happy", gr.Slider, "more.happy", **bend)
    add("jazzy", gr.Slider, "more.jazzy", **bend)
    add("faithful", gr.Slider, "more.faithful", **share)
    add("negative", gr.Textbox, "more.negative", lines=1, max_lines=1)
    _subhead(sheet, "more.models")
    add(
        "players",
        gr.CheckboxGroup,
        "more.players",
        value=list(cards.ORDER),
        elem_id="players",
    )
    add("variations", gr.Slider, "more.variations", minimum=1, maximum=4, step=1, buttons=[])
    add("seed", gr.Number, "more.seed", "more.seed_hint", minimum=0, precision=0)
    add("first", gr.Dropdown, "more.first", value=choose.default_model("musicgen", models))
    add("second", gr.Dropdown, "more.second", value=choose.default_model("audioldm", models))
    add("guidance", gr.Slider, "more.guidance", minimum=0, maximum=15, step=0.5, buttons=[])
    add("steps", gr.Slider, "more.steps", minimum=0, maximum=200, step=5, buttons=[])
    add("start_from", gr.Dropdown, "more.start_from", filterable=False)
    add("strength", gr.Slider, "more.strength", **share)
    _subhead(sheet, "more.voice")
    add("separate", gr.Dropdown, "more.separate", value="auto", filterable=False)
    add("denoise", gr.Checkbox, "more.denoise", value=False, elem_classes="v-small-check")


def _subhead(sheet: Sheet, key: str) -> None:
    sheet.add(gr.HTML, texts={"value": key}, apply_default_css=False, elem_classes="v-subhead")


def recorder_words(words: Words) -> dict[str, str]:
    """The sentences that the recorder's script shows."""
    return words.part("record", "guide", "latency", "backing", "mic", "voice", "example")


def stage_words(words: Words) -> dict[str, str]:
    """The sentences that the script of step 3 shows."""
    return words.part("listen", "download")


def _close(visit: Visit | None) -> None:
    if visit is not None:
        visit.close()
