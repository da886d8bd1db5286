"""The page's colours and shapes, for Gradio's own controls; `static/page.css` has the rest.

Only fonts that the visitor's machine has: nothing is fetched from elsewhere.
"""

from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("core", "player", "guide", "tape", "recorder", "heard", "stage", "header")
FONTS = ("system-ui", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans Arabic", "sans-serif")
TEAL = gr.themes.Color(
    name="teal",
    c50="#effaf8", c100="#d5f2ed", c200="#abe4db", c300="#78cfc3", c400="#47b3a6",
    c500="#1f8f84", c600="#0b756b", c700="#0a5f58", c800="#0b4c47", c900="#0b3f3b", c950="#042522",
)  # fmt: skip
SAND = gr.themes.Color(
    name="sand",
    c50="#faf9f6", c100="#f3f1ec", c200="#e6e2da", c300="#d3cdc2", c400="#a49d90",
    c500="#776f63", c600="#5c554b", c700="#453f37", c800="#2b2722", c900="#1c1a17", c950="#131210",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """Gradio's controls in the page's colours."""
    return gr.themes.Base(
        primary_hue=TEAL,
        neutral_hue=SAND,
        font=[gr.themes.Font(name) for name in FONTS],
        font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")],
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_padding="0px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="500",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
    )


def css() -> str:
    """The style sheet."""
    return (STATIC / "page.css").read_text(encoding="utf-8")


def head() -> str:
    """The page's scripts, in one inline piece: they need no address and no order of loading."""
    scripts = "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    return f"<script>{scripts}</script>"
