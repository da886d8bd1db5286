"""Checkpoints by name: what is listed, found, verified, fetched and refused. No network."""

import dataclasses
import functools
import hashlib
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import HTTPError
from safetensors import safe_open
from safetensors.numpy import save_file
from tiny_musicgen import build_tiny_musicgen

from voice2music import checkpoint_files, checkpoints
from voice2music.errors import BadRequest, CorruptCheckpoint, MissingCheckpoint, VoiceToMusicError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_musicgen(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a cache of this test's own."""
    monkeypatch.setenv(checkpoints.CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def put(source: Path, *to: str | Path) -> Path:
    return shutil.copytree(source, Path(*to))


# The index


def test_every_entry_of_the_index_can_be_used() -> None:
    entries = checkpoints.index()
    assert {"mini-musicgen", "mini-audioldm", "musicgen-melody", "audioldm-s", "htdemucs"} <= set(
        entries
    )
    for entry in entries.values():
        assert entry.engine in ("musicgen", "audioldm", "separation")
        assert entry.bundled != bool(entry.hub)
        assert entry.note.endswith(".")
        assert entry.megabytes > 0
        assert entry.rate in (16_000, 32_000, 44_100)
        assert entry.commercial == ("NC" not in entry.licence)


def test_only_safe_kinds_of_files_are_fetched() -> None:
    allowed = {"*.safetensors", "*.json", "*.txt", "*.yaml"}
    assert all(set(entry.files) <= allowed for entry in checkpoints.index().values())


def test_the_list_says_what_is_here(tiny: Path, home: Path) -> None:
    before = {listed.name: listed for listed in checkpoints.list_checkpoints()}
    assert not before["musicgen-melody"].available
    assert before["musicgen-melody"].fetchable
    assert not before["mini-musicgen"].fetchable
    put(tiny, home, "cache", "checkpoints", "musicgen-melody")
    after = {listed.name: listed for listed in checkpoints.list_checkpoints()}
    assert after["musicgen-melody"].available
    assert list(before) == list(after)


def test_a_folder_of_ones_own_is_listed_and_found(tiny: Path, home: Path) -> None:
    put(tiny, "checkpoints", "my-fine-tune")
    (home / "work" / "checkpoints" / "notes").mkdir()
    (home / "work" / "checkpoints" / ".hidden").mkdir()
    names = [listed.name for listed in checkpoints.list_checkpoints()]
    assert names.count("my-fine-tune") == 1
    assert not {"notes", ".hidden"} & set(names)
    found = checkpoints.locate("my-fine-tune")
    assert (found.engine, found.licence, found.commercial) == ("musicgen", "unknown", False)


def test_a_licence_is_read_from_the_model_card_or_our_own_file(tiny: Path) -> None:
    folder = put(tiny, "checkpoints", "carded")
    (folder / "README.md").write_text("---\nlibrary_name: x\nlicense: cc-by-4.0\n---\n# Card\n")
    assert checkpoints.locate("carded").licence == "CC-BY-4.0"
    own = {"licence": "MIT", "commercial": True, "note": "Mine."}
    (folder / "voice2music.json").write_text(json.dumps(own))
    found = checkpoints.locate("carded")
    assert (found.licence, found.commercial, found.note) == ("MIT", True, "Mine.")


def test_the_default_is_the_first_that_is_here(tiny: Path, home: Path) -> None:
    if not any(
        listed.available and listed.name == "mini-musicgen"
        for listed in checkpoints.list_checkpoints()
    ):
        assert checkpoints.default_checkpoint("musicgen") == "mini-musicgen"
        put(tiny, home, "cache", "checkpoints", "musicgen-melody")
        assert checkpoints.default_checkpoint("musicgen") == "musicgen-melody"
    with pytest.raises(BadRequest):
        checkpoints.default_checkpoint("theremin")


# Finding


def test_the_order_of_places_is_path_working_directory_cache(tiny: Path, home: Path) -> None:
    name = "musicgen-melody"
    cached = put(tiny, home, "cache", "checkpoints", name)
    assert checkpoints.locate(name).folder == cached
    nearer = put(tiny, "checkpoints", name).resolve()
    assert checkpoints.locate(name).folder == nearer
    given = put(tiny, home, "elsewhere", "x")
    assert checkpoints.locate(given).folder == given
    assert checkpoints.locate(str(given)).name == "x"


def test_a_hub_name_finds_the_same_as_ours(tiny: Path, home: Path) -> None:
    put(tiny, home, "cache", "checkpoints", "musicgen-melody")
    found = checkpoints.locate("facebook/musicgen-melody")
    assert found.name == "musicgen-melody"
    assert found.licence == "CC-BY-NC-4.0"
    put(tiny, home, "cache", "checkpoints", "someone--tuned")
    assert checkpoints.locate("someone/tuned").name == "someone--tuned"


@pytest.mark.parametrize("name", ["musicgen-melody", "facebook/musicgen-melody", "audioldm-s"])
def test_what_is_missing_says_how_to_get_it(name: str) -> None:
    with pytest.raises(MissingCheckpoint, match="voice2music models fetch") as caught:
        checkpoints.locate(name)
    assert "GB" in str(caught.value)


@pytest.mark.parametrize("name", ["no-such", "", ".", "..", "../..", "/etc", "a/b/c", "x\0y"])
def test_a_strange_name_is_one_of_our_errors(name: str) -> None:
    with pytest.raises(VoiceToMusicError):
        checkpoints.locate(name)


def test_an_empty_folder_counts_as_absent() -> None:
    Path("checkpoints", "musicgen-melody").mkdir(parents=True)
    with pytest.raises(MissingCheckpoint):
        checkpoints.locate("musicgen-melody")


# Verifying


def test_the_hash_is_that_of_sha256sum_over_the_files_in_name_order(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "part").mkdir(parents=True)
    (folder / "b.json").write_text("two")
    (folder / "a.json").write_text("one")
    (folder / "part" / "c.txt").write_text("three")
    (folder / "README.md").write_text("not counted")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("nor this")
    lines = [
        f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n"
        for name, text in (("a.json", "one"), ("b.json", "two"), ("part/c.txt", "three"))
    ]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert checkpoint_files.folder_sha256(folder) == expected


def test_the_hash_is_remembered_until_a_file_changes(
    tiny: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tiny, "checkpoints", "mine")
    first = checkpoints.locate("mine").sha256
    assert first == checkpoint_files.folder_sha256(folder)
    monkeypatch.setattr(checkpoint_files, "folder_sha256", lambda folder: "hashed again")
    assert checkpoints.locate("mine").sha256 == first
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert checkpoints.locate("mine").sha256 == "hashed again"
    (home / "cache" / "sha256.json").write_text("{broken")
    assert checkpoints.locate("mine").sha256 == "hashed again"


def test_a_whole_checkpoint_passes_the_check(tiny: Path) -> None:
    assert checkpoints.check(tiny).engine == "musicgen"


def test_a_weights_file_that_was_cut_short_is_named(tiny: Path) -> None:
    folder = put(tiny, "checkpoints", "cut")
    weights = folder / "model.safetensors"
    for content in (weights.read_bytes()[:-1], weights.read_bytes()[:20], b"", b"\xff" * 64):
        weights.write_bytes(content)
        with pytest.raises(CorruptCheckpoint, match=r"cut/model\.safetensors"):
            checkpoints.check("cut")


def test_a_missing_part_is_named(tiny: Path) -> None:
    folder = put(tiny, "checkpoints", "part")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CorruptCheckpoint, match=r"model-2\.safetensors"):
        checkpoints.check("part")
    (folder / "model.safetensors.index.json").unlink()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CorruptCheckpoint, match="tokenizer"):
        checkpoints.check("part")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CorruptCheckpoint, match="no weights"):
        checkpoints.check("part")


def test_an_audioldm_needs_all_its_parts(tmp_path: Path) -> None:
    folder = tmp_path / "ldm"
    parts = ("vae", "unet", "text_encoder", "vocoder")
    for part in parts:
        (folder / part).mkdir(parents=True)
        save_file({"x": __import__("numpy").ones(3)}, folder / part / "model.safetensors")
    index = {"_class_name": "AudioLDMPipeline", **{part: ["diffusers", "X"] for part in parts}}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert checkpoints.check(folder).engine == "audioldm"
    shutil.rmtree(folder / "vocoder")
    with pytest.raises(CorruptCheckpoint, match="vocoder"):
        checkpoints.check(folder)


def test_another_file_than_the_pinned_one_is_refused(
    tiny: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tiny, home, "cache", "checkpoints", "musicgen-melody")
    right = hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()
    entry = checkpoints.index()["musicgen-melody"]
    for pin, passes in ((right, True), ("0" * 64, False)):
        pinned = dataclasses.replace(entry, sha256={"model.safetensors": pin})
        monkeypatch.setattr(checkpoints, "index", lambda pinned=pinned: {pinned.name: pinned})
        if passes:
            checkpoints.check("musicgen-melody")
        else:
            with pytest.raises(CorruptCheckpoint, match="sha256"):
                checkpoints.check("musicgen-melody")


def test_any_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"jpg")
    with pytest.raises(CorruptCheckpoint, match="no model this program can use"):
        checkpoints.check(tmp_path / "photos")


# Fetching


class Hub:
    """Stands for the hub: gives the files of a folder, or fails."""

    def __init__(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.asked, self.error = source, [], None
        self.lie: dict[str, str] = {}
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.download)

    def model_info(self, hub: str, *, revision: str, files_metadata: bool) -> SimpleNamespace:
        siblings = [
            SimpleNamespace(rfilename=file.name, lfs=self._lfs(file))
            for file in self.source.iterdir()
        ]
        return SimpleNamespace(sha="c0ffee", siblings=siblings)

    def _lfs(self, file: Path) -> SimpleNamespace | None:
        if file.suffix != ".safetensors":
            return None
        real = hashlib.sha256(file.read_bytes()).hexdigest()
        return SimpleNamespace(sha256=self.lie.get(file.name, real))

    def download(self, hub: str, *, local_dir: Path, tqdm_class: Any, **rest: Any) -> str:
        self.asked.append((hub, rest["revision"], rest["allow_patterns"]))
        if self.error:
            raise self.error
        bar = tqdm_class(total=0, initial=0, unit="B", unit_scale=True, desc="bytes")
        for file in self.source.iterdir():
            if any(file.match(pattern) for pattern in rest["allow_patterns"]):
                Path(local_dir).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, Path(local_dir) / file.name)
                bar.update(file.stat().st_size)
        bar.close()
        return str(local_dir)


@pytest.fixture
def hub(tiny: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    source = put(tiny, home, "hub")
    (source / "state_dict.bin").write_bytes(b"a pickle")
    (source / "README.md").write_text("card")
    return Hub(source, monkeypatch)


def test_a_model_is_fetched_once_verified_and_found(hub: Hub, home: Path) -> None:
    told: list[float] = []
    found = checkpoints.fetch("musicgen-melody", lambda share, words: told.append(share))
    assert found.folder == home / "cache" / "checkpoints" / "musicgen-melody"
    assert told == sorted(told)
    assert told[-1] == 1
    assert hub.asked == [
        ("facebook/musicgen-melody", "c0ffee", ["*.safetensors", "*.json", "*.txt"])
    ]
    assert not list(found.folder.glob("*.bin"))
    source = json.loads((found.folder / ".voice2music-source.json").read_text())
    assert (source["hub"], source["revision"]) == ("facebook/musicgen-melody", "c0ffee")
    checkpoints.fetch("musicgen-melody")
    assert len(hub.asked) == 1
    assert checkpoints.check("facebook/musicgen-melody").sha256 == found.sha256


def test_a_fetched_file_that_changes_later_is_noticed(hub: Hub) -> None:
    folder = checkpoints.fetch("musicgen-melody").folder
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(CorruptCheckpoint, match="sha256"):
        checkpoints.check("musicgen-melody")


def test_any_repository_of_the_hub_can_be_fetched(hub: Hub) -> None:
    assert checkpoints.fetch("someone/tuned").name == "someone--tuned"
    assert checkpoints.locate("someone/tuned").licence == "unknown"


def test_a_download_that_differs_from_the_hubs_hash_does_not_appear(hub: Hub, home: Path) -> None:
    hub.lie = {"model.safetensors": "0" * 64}
    with pytest.raises(CorruptCheckpoint, match="sha256"):
        checkpoints.fetch("musicgen-melody")
    with pytest.raises(MissingCheckpoint):
        checkpoints.locate("musicgen-melody")
    assert not list((home / "cache" / "checkpoints").iterdir())  # or it would never be mended
    hub.lie = {}
    assert checkpoints.fetch("musicgen-melody").name == "musicgen-melody"


@pytest.mark.parametrize(
    "error",
    [HTTPError("no route to host"), OSError(28, "No space left on device")],
)
def test_a_failed_download_is_one_sentence_and_can_be_tried_again(
    hub: Hub, error: Exception
) -> None:
    hub.error = error
    with pytest.raises(MissingCheckpoint, match="could not be downloaded"):
        checkpoints.fetch("musicgen-melody")
    hub.error = None
    assert checkpoints.fetch("musicgen-melody").name == "musicgen-melody"


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client itself, asked for an address where nobody listens: its own exceptions."""
    unreachable = functools.partial(huggingface_hub.HfApi, endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "HfApi", unreachable)
    with pytest.raises(MissingCheckpoint, match="could not be downloaded .*refused"):
        checkpoints.fetch("musicgen-melody")


@pytest.mark.parametrize("name", ["no-such", "a/b/c", "../x", "/x"])
def test_what_is_no_name_is_not_asked_of_the_hub(hub: Hub, name: str) -> None:
    with pytest.raises(MissingCheckpoint):
        checkpoints.fetch(name)
    assert hub.asked == []


def test_looking_for_a_model_never_downloads(hub: Hub) -> None:
    for name in ("musicgen-melody", "someone/tuned"):
        with pytest.raises(MissingCheckpoint):
            checkpoints.locate(name)
    checkpoints.list_checkpoints()
    assert hub.asked == []


def test_the_index_is_found_where_the_package_is_installed_without_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "share" / "voice2music" / "checkpoints" / "index.toml"
    installed.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / "checkpoints" / "index.toml", installed)

    class File(type(Path())):  # type: ignore[misc]
        def locate(self) -> Path:
            return Path(self)

    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "lib" / "voice2music" / "c.py"))
    monkeypatch.setattr(checkpoints.importlib.metadata, "files", lambda name: [File(installed)])
    assert checkpoints._index_file() == installed


BUNDLED = [name for name, entry in checkpoints.index().items() if entry.bundled]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_is_whole_to_the_bit(name: str) -> None:
    found = checkpoints.check(name)
    assert found.commercial
    weights = {str(p.relative_to(found.folder)) for p in found.folder.rglob("*.safetensors")}
    assert set(checkpoints.index()[name].sha256) == weights


def test_the_bundled_models_keep_to_their_budget() -> None:
    folder = ROOT / "checkpoints"
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert len(BUNDLED) == 2
    assert max(sizes) <= 15e6
    assert sum(sizes) <= 60e6
    count = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "numpy") as weights:
            count += sum(math.prod(weights.get_slice(k).get_shape()) for k in weights.keys())  # noqa: SIM118
    assert 20e6 < count <= 30e6
