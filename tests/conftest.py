"""What all tests share."""

import os
import tempfile

import pytest

# Tiny networks on several threads each, in several test processes at once, spend their time waiting
# for one another: two processes of two threads on two cores are some five times slower. To be set
# before torch or NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_uploads = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Gradio's default folder for uploads is one for all users of a machine; tests have their own.

    To be set before Gradio is imported. Each test process has its own too.
    """
    config.stash[_uploads] = tempfile.TemporaryDirectory(prefix="voice2music-tests-")
    os.environ["GRADIO_TEMP_DIR"] = config.stash[_uploads].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing of the tests is left behind."""
    config.stash[_uploads].cleanup()
