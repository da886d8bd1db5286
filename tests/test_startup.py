"""What starts quickly stays so: the modules that are read, as seconds differ between machines."""

import gc
import subprocess
import sys
import threading

import pytest

from voice2music.garbage import garbage_later

# Each takes from a tenth of a second to four seconds.
HEAVY = (
    "torch", "transformers", "diffusers", "librosa", "music21", "sklearn", "onnxruntime", "av",
    "swift_f0", "demucs", "symusic", "matplotlib", "scipy.signal", "scipy.stats",
)  # fmt: skip
ALSO_HEAVY = ("gradio", "numpy", "scipy", "soundfile", "pandas", "huggingface_hub")


def heavy_after(statement: str) -> list[str]:
    """The heavy modules that a fresh interpreter has read after `statement`."""
    ask = f"import sys\n{statement}\nprint(*[m for m in {HEAVY + ALSO_HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, timeout=120)
    return done.stdout.decode().split()


def test_the_package_reads_nothing_heavy():
    assert heavy_after("import voice2music") == []


def test_the_command_line_reads_nothing_heavy_before_it_knows_what_to_do():
    assert heavy_after("import voice2music.cli") == []


def test_the_page_is_there_before_ears_and_models_are_read():
    read = heavy_after("import voice2music.ui.serving")
    assert "gradio" in read  # so the list is not empty by mistake
    assert [name for name in read if name in HEAVY] == []


def test_no_garbage_is_collected_while_much_is_made_and_again_afterwards():
    assert gc.isenabled()
    with garbage_later():
        assert not gc.isenabled()
        with garbage_later():
            pass
        assert not gc.isenabled()  # the outer block goes on
    assert gc.isenabled()


def test_blocks_of_several_threads_overlap():
    begun, end = threading.Event(), threading.Event()

    def other() -> None:
        with garbage_later():
            begun.set()
            end.wait(10)

    thread = threading.Thread(target=other)
    with garbage_later():
        thread.start()
        begun.wait(10)
    assert not gc.isenabled()
    end.set()
    thread.join()
    assert gc.isenabled()


def test_a_collector_that_was_switched_off_stays_off():
    gc.disable()
    try:
        with garbage_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_mistake_inside_the_block_switches_it_on_again():
    with pytest.raises(ZeroDivisionError), garbage_later():
        _ = 1 / 0
    assert gc.isenabled()
