"""The front door does not lie: its commands exist and its Python runs."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from voice2music.cli import app

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", ROOT / "docs" / "deploy.md", ROOT / "docs" / "fine-tuning.md"]
COMMAND = typer.main.get_command(app)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)


def commands():
    for path in DOCS:
        for block in blocks(path, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == "voice2music":
                    yield pytest.param(words[1:], id=" ".join(words)[:60])


@pytest.mark.parametrize("words", commands())
def test_every_command_of_the_docs_exists_with_its_options(words):
    command = COMMAND
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    # Parsing is enough: it refuses unknown options, values of the wrong kind, and too few or
    # too many arguments.
    command.make_context("voice2music", list(words))


def test_every_make_target_of_the_docs_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in DOCS:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.M):
            assert target in targets, target


def test_every_link_of_the_docs_leads_somewhere():
    for path in [*DOCS, ROOT / "docs" / "architecture.md"]:
        for link in re.findall(r"\]\(([^)#]+)", path.read_text()):
            if not link.startswith("http"):
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_python_of_the_readme_runs_and_makes_music(tmp_path, monkeypatch, capsys):
    examples = ROOT / "examples"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(examples)
    for block in blocks(ROOT / "README.md", "python"):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert re.search(r"takes/\S+\.wav \w+", printed)


def test_the_space_header_names_what_is_pinned():
    header = (ROOT / "README.md").read_text().split("---")[1]
    pinned = (ROOT / "requirements.txt").read_text()
    version = re.search(r"sdk_version: ([\d.]+)", header)[1]
    assert f"gradio[mcp]=={version}" in pinned
    assert 'python_version: "3.11"' in header


def test_nothing_is_promised_with_a_placeholder():
    assert not re.search(r"@[A-Z]+@", (ROOT / "README.md").read_text())
