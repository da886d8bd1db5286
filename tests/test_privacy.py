"""Nothing of a visitor goes to anybody else, and nothing is left behind."""

import os
import subprocess
import sys

HEAR = """
from voice2music.analysis import analyse
from voice2music.cleaning import clean
from voice2music.notes import Note
from voice2music.singer import sing
voice = sing([Note(i * 0.5, i * 0.5 + 0.45, 57 + i) for i in range(6)])
assert analyse(clean(voice, "no", True).clip).notes
"""


def test_hearing_a_voice_writes_nothing_and_reports_to_nobody(tmp_path):
    """ONNX Runtime 1.29 and later send events to Microsoft unless told not to, and leave a session
    file, a database and an identifier of the machine; the page then keeps what it should not."""
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(scratch)}
    environment |= {"XDG_CACHE_HOME": str(home / ".cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", HEAR], env=environment, check=True, timeout=120)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == []
