"""Takes the pictures in this folder: `python docs/img/pictures.py`. Needs Chromium."""

import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from browser import (  # noqa: E402
    NARROW,
    WIDE,
    Visitor,
    choose_genre,
    microphone,
    served,
    visiting,
)

PATIENCE = 300.0  # seconds for a model's take


def main() -> None:
    """An example hum in three languages, wide and narrow, light and dark."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for place in ("visits", "browser"):
            (root / place).mkdir()
        with served(root / "visits") as url, visiting(root / "browser", microphone(root)) as who:
            _prepare(who, url)
            _take(who)


def _prepare(who: Visitor, url: str) -> None:
    who.open(url)
    who.press("[data-example=greensleeves]")
    who.see(".v-facts")
    choose_genre(who, "Waltz")
    who.press("#make")
    for column in ("band", "musicgen", "audioldm"):
        who.see(f"[data-slot={column}] .v-card", PATIENCE)
    who.press("[data-slot=band] .v-follow summary")


def _take(who: Visitor) -> None:
    for language in ("en", "fr", "ar"):
        who.press(f"[data-language={language}]")
        time.sleep(1.5)
        for name, size in (("1280", WIDE), ("390", NARROW)):
            who.window(*size)
            time.sleep(0.5)
            who.picture(HERE / f"page-{language}-{name}.png")
        who.window(*WIDE)
    who.press("[data-language=en]")
    time.sleep(1.5)  # the page draws itself anew
    who.press(".v-round")
    time.sleep(1)
    who.picture(HERE / "page-dark-1280.png")


if __name__ == "__main__":
    main()
