"""A visitor of the page: Chromium without a screen, driven through selenium."""

import base64
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fixtures_ui import free_port
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from voice2music.clip import Limits, read, write
from voice2music.ui.backend import Backend, installed

ROOT = Path(__file__).parents[1]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--lang=en", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
HARMLESS = ("Method not implemented",)  # Gradio's own player says so in every app
WIDE, NARROW = (1280, 860), (390, 844)


def program(*names: str) -> str | None:
    """The first of these programs that is on this machine."""
    return next((found for name in names if (found := shutil.which(name))), None)


CHROMIUM = program("chromium", "chromium-browser", "google-chrome")
DRIVER = program("chromedriver")


@contextmanager
def served(root: Path, backend: Backend | None = None) -> Iterator[str]:
    """The page as it is installed, or on another backend, on a free port; gives its address."""
    from voice2music.ui import page, serving

    blocks = page.build(backend or installed(), root, Limits(), jobs=1)
    _, url, _ = blocks.queue().launch(
        **serving.options(root, Limits()),
        server_port=free_port(),
        prevent_thread_lock=True,
        quiet=True,
    )
    try:
        yield url
    finally:
        blocks.close()


def microphone(folder: Path) -> Path:
    """What the fake microphone hears, again and again."""
    hum = read(ROOT / "examples" / "ode-to-joy.flac").resampled(48_000)
    return write(hum, folder / "microphone.wav")


@contextmanager
def visiting(folder: Path, sung: Path) -> Iterator["Visitor"]:
    """A browser of its own, with nothing remembered, whose microphone hears `sung`."""
    downloads = folder / "downloads"
    downloads.mkdir()
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    own = (f"--user-data-dir={folder / 'profile'}", f"--use-file-for-fake-audio-capture={sung}")
    for flag in (*FLAGS, *own):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        visitor = Visitor(driver, downloads)
        visitor.window(*WIDE)
        yield visitor
    finally:
        driver.quit()


class Visitor:
    """Somebody who looks at the page, presses things and waits for what comes."""

    def __init__(self, driver, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.see(".v-record")
        self.driver.execute_script("window.confirm = () => true")

    def window(self, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def find(self, css: str):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def see(self, css: str, seconds: float = 30.0):
        """The first visible element of that kind, as soon as there is one."""
        return self.until(
            lambda: next((e for e in self.find(css) if e.is_displayed()), None), seconds
        )

    def until(self, true: Callable[[], object], seconds: float = 30.0):
        return WebDriverWait(
            self.driver, seconds, 0.1, ignored_exceptions=[StaleElementReferenceException]
        ).until(lambda _: true())

    def press(self, css: str) -> None:
        element = self.see(css)
        self.driver.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element
        )
        time.sleep(0.2)
        element.click()

    def text(self, css: str) -> str:
        return self.see(css).text

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Errors in the browser's console."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and not any(h in entry["message"] for h in HARMLESS)
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.run(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        size = self.run("return [innerWidth, Math.max(document.body.scrollHeight, innerHeight)]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def downloaded(self, ending: str) -> Path:
        def done():
            return next(iter(self.downloads.glob(f"*{ending}")), None)

        return self.until(done)


def only_the_band(visitor: Visitor) -> None:
    """Untick the models, which are slow without a graphics card."""
    visitor.press(".v-more button")
    boxes = "#players input[type=checkbox]"
    visitor.see(boxes)
    for model in visitor.find(boxes)[1:]:
        visitor.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", model)
        model.click()
    visitor.until(
        lambda: [box.is_selected() for box in visitor.find(boxes)] == [True, False, False]
    )
    visitor.press(".v-more button")


def choose_genre(visitor: Visitor, name: str) -> None:
    field = visitor.see("#genre input")
    visitor.driver.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", field
    )
    field.click()
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(name, Keys.ENTER)
