"""Making a take again from its JSON, bit for bit on the same machine."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voice2music import pipeline
from voice2music.clip import OWN, read
from voice2music.engines.base import Sounds
from voice2music.engines.loading import load_engine
from voice2music.errors import BadManifest
from voice2music.request import Request
from voice2music.soundfont import soundfont_with
from voice2music.take import Take, read_record, sha256


@dataclass(frozen=True)
class Again:
    """A take made again, and whether its music is the same to the bit."""

    take: Take
    identical: bool


def again(record_file: Path, out: Path, *, load: pipeline.Load | None = None) -> Again:
    """Make the take that `record_file` describes once more, into `out`.

    Raises:
        BadManifest: the JSON is damaged, or its voice file or its SoundFont is gone or changed.
        VoiceToMusicError: what the pipeline raises; the engine's own error if it fails.
    """
    record = read_record(record_file)
    voice = None
    if record["input"] is not None:
        file = record_file.parent / Path(record["input"]["file"]).name
        if not file.is_file() or sha256(file) != record["input"]["sha256"]:
            raise BadManifest(
                f"'{record_file.name}' was made from '{file.name}', which is not beside it or has "
                f"changed. Put the original file back."
            )
        voice = read(file, OWN)
    request = _request(record)
    load = _with_sounds(record, request, load or load_engine)
    for event in pipeline.takes(request, voice, out, name="again", load=load, alone=True):
        if isinstance(event, pipeline.Failed):
            raise event.error
        if isinstance(event, Take) and event.engine == record["engine"]:
            same = sha256(event.music) == record["music"]["sha256"]
            return Again(event, same)
    raise AssertionError("the pipeline ended without a take")


def _with_sounds(record: dict[str, Any], request: Request, load: pipeline.Load) -> pipeline.Load:
    """`load`, but with a band that plays on the SoundFont of the record.

    Raises:
        BadManifest: that SoundFont is not on this machine.
        MissingPackage: no SoundFont is.
    """
    wanted = record.get("soundfont")
    if wanted is None or load("band", request).describe().sounds == Sounds(
        wanted["name"], wanted["sha256"]
    ):
        return load
    font = soundfont_with(wanted["sha256"])
    if font is None:
        raise BadManifest(
            f"This take was played on the SoundFont '{wanted['name']}' (sha256 "
            f"{wanted['sha256'][:12]}), which is not on this machine: install that one and try "
            f"again, or make a new take from the same voice."
        )
    from voice2music.engines.band import Band

    band = Band(font)
    return lambda column, asked: band if column == "band" else load(column, asked)


def _request(record: dict[str, Any]) -> Request:
    """The recorded request, for this one take.

    The stored voice is already clean, so it is not cleaned a second time.
    """
    asked = Request.from_json(record["request"])
    return replace(
        asked,
        engines=(record["engine"],),
        seed=record["seed"],
        variations=1,
        separate="no",
        denoise=False,
    )
