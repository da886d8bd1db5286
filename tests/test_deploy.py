"""What a Space needs: its header, its lists of packages, and that they agree with one another."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pins(name: str) -> dict[str, str]:
    """Package to version, of a requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    wanted = [line.split(";")[0].strip() for line in lines if line and not line.startswith("#")]
    pairs = [re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?==(\S+)", line) for line in wanted]
    assert all(pairs), wanted
    return {pair[1].lower(): pair[2] for pair in pairs}


def header() -> dict[str, str]:
    """The front matter of the README, which the Hub reads."""
    text = (ROOT / "README.md").read_text()
    assert text.startswith("---\n")
    lines = text.split("---\n")[1].splitlines()
    return {key: value.strip('"') for key, value in (line.split(": ", 1) for line in lines)}


def test_the_header_names_what_a_gradio_space_needs():
    given = header()
    assert given["sdk"] == "gradio"
    assert given["sdk_version"] == pins("requirements.txt")["gradio"]
    assert re.fullmatch(r"3\.1[1-9]", given["python_version"])
    assert (ROOT / given["app_file"]).is_file()
    assert len(given["short_description"]) <= 60  # the Hub refuses longer ones
    colours = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
    assert {given["colorFrom"], given["colorTo"]} <= set(colours)


def test_zerogpu_wants_the_same_packages_but_for_torch():
    plain, zero = pins("requirements.txt"), pins("requirements-zerogpu.txt")
    assert zero.pop("spaces")
    assert (2, 8) <= tuple(map(int, zero.pop("torch").split(".")[:2])) <= (2, 11)
    del plain["torch"]
    assert zero == plain


def test_debian_packages_stand_one_on_a_line_without_comments():
    """The Hub hands the file to apt-get word by word."""
    for line in (ROOT / "packages.txt").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", line)


def test_what_is_tested_is_what_is_pinned():
    wanted = pins("requirements.txt")
    for name in ("gradio", "torch", "transformers", "diffusers", "numpy", "av", "soundfile"):
        assert version(name).split("+")[0] == wanted[name], name


def test_the_guide_names_only_what_exists():
    guide = (ROOT / "docs" / "deploy.md").read_text()
    for path in re.findall(r"`((?:voice2music|tests|checkpoints)/[\w./-]+\.\w+)`", guide):
        assert (ROOT / path).is_file(), path
    cli = pytest.importorskip("voice2music.cli")
    from typer.testing import CliRunner

    options = CliRunner().invoke(cli.app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    options = re.sub(r"\x1b\[[0-9;]*m", "", options)
    for option in set(re.findall(r"serve (--[\w-]+)", guide)):
        assert option in options, option


def test_numbers_in_the_guide_are_those_of_the_code():
    from voice2music.clip import Limits
    from voice2music.request import LONGEST, MAX_WORDS, SHORTEST

    guide = (ROOT / "docs" / "deploy.md").read_text()
    assert f"| {Limits().max_bytes // 2**20} MB |" in guide
    assert f"| {Limits().max_seconds / 60:.0f} minutes |" in guide
    assert f"| {SHORTEST:.0f} to {LONGEST:.0f} s |" in guide
    assert f"| {MAX_WORDS:,} characters |" in guide
