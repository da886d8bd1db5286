"""Every model that is trained here: its sizes, how its run goes, what it is built on."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voice2music.errors import BadRequest
from voice2music.training import (
    audioldm,
    clap,
    codec,
    inverter,
    musicgen,
    teacher,
    token_spectra,
    vae,
    vocoder,
)
from voice2music.training.assembly import Sources
from voice2music.training.task import Settings, Task

Folders = Mapping[str, Path]  # exported models that another one is built on, by name
Build = Callable[[Any, Path, Folders, Path | None], Task]


@dataclass(frozen=True)
class Trainable:
    """A model that can be trained.

    Args:
        config: its sizes; settings: how its run goes, as it was tried on one CPU thread.
        build: its task, from config, data, folders and a folder to start from.
        needs, takes: names of the exported models without and with which it can be trained.
    """

    config: Any
    settings: Settings
    build: Build
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


def _teacher(
    config: teacher.TeacherConfig, data: Path, folders: Folders, start: Path | None
) -> Task:
    if start is not None:
        raise BadRequest("A teacher begins anew: with other tokens all the others begin anew too.")
    return teacher.task(config, data)


def _codec(config: codec.CodecConfig, data: Path, folders: Folders, start: Path | None) -> Task:
    return codec.task(config, data, start, folders.get("teacher"))


def _encoder(config: codec.CodecConfig, data: Path, folders: Folders, start: Path | None) -> Task:
    return codec.task(config, data, start or folders["codec"], folders["teacher"])


def _spectra(
    config: token_spectra.TokenSpectraConfig, data: Path, folders: Folders, start: Path | None
) -> Task:
    return token_spectra.task(config, data, folders["teacher"], start)


def _musicgen(
    config: musicgen.MusicgenConfig, data: Path, folders: Folders, start: Path | None
) -> Task:
    return musicgen.task(config, data, folders["codec"], start)


def _vae(config: vae.VaeConfig, data: Path, folders: Folders, start: Path | None) -> Task:
    return vae.task(config, data, start)


def _vocoder(
    config: vocoder.VocoderConfig, data: Path, folders: Folders, start: Path | None
) -> Task:
    return vocoder.task(config, data, start, folders.get("vae"))


def _inverter(
    config: inverter.InverterConfig, data: Path, folders: Folders, start: Path | None
) -> Task:
    return inverter.task(config, data, start, folders.get("vae"))


def _clap(config: clap.Config, data: Path, folders: Folders, start: Path | None) -> Task:
    return clap.task(config, data, start)


def _audioldm(config: audioldm.Config, data: Path, folders: Folders, start: Path | None) -> Task:
    sources = Sources(folders["vae"], folders["clap"], folders["vocoder"])
    return audioldm.task(config, data, sources, start)


TRAINABLE = {
    "teacher": Trainable(
        teacher.TeacherConfig(),
        Settings(minutes=8, warm_up=50, average=0.995, weight_decay=0.0, validations=1),
        _teacher,
    ),
    "codec": Trainable(
        codec.CodecConfig(rival_channels=0),
        Settings(minutes=45, betas=(0.8, 0.99), average=0.998, weight_decay=0.0),
        _codec,
        takes=("teacher",),
    ),
    "encoder": Trainable(
        codec.CodecConfig(rival_channels=0, only_encoder=True, taught=1.0, batch=16),
        Settings(
            minutes=32,
            learning_rate=1.5e-3,
            betas=(0.8, 0.99),
            average=0.998,
            weight_decay=0.0,
            validations=1,
        ),
        _encoder,
        needs=("teacher", "codec"),
    ),
    "spectra": Trainable(
        token_spectra.TokenSpectraConfig(),
        Settings(minutes=15, warm_up=50, average=0.995, weight_decay=0.0, validations=2),
        _spectra,
        needs=("teacher",),
    ),
    "musicgen": Trainable(
        musicgen.MusicgenConfig(), Settings(minutes=50), _musicgen, needs=("codec",)
    ),
    "vae": Trainable(vae.VaeConfig(), Settings(minutes=15, average=0.998, validations=2), _vae),
    "vocoder": Trainable(
        vocoder.VocoderConfig(),
        Settings(minutes=30, betas=(0.8, 0.99), average=0.998, weight_decay=0.0),
        _vocoder,
        takes=("vae",),
    ),
    "inverter": Trainable(
        inverter.InverterConfig(), Settings(minutes=15, average=0.998), _inverter, takes=("vae",)
    ),
    "clap": Trainable(
        clap.Config(),
        Settings(minutes=15, learning_rate=1.5e-3, warm_up=60, average=0.995),
        _clap,
    ),
    "audioldm": Trainable(
        audioldm.Config(), Settings(minutes=40), _audioldm, needs=("vae", "clap", "vocoder")
    ),
}


def trainable(name: str, folders: Folders) -> Trainable:
    """The model of that name.

    Raises:
        BadRequest: an unknown name, or a model it is built on was not given.
    """
    if name not in TRAINABLE:
        raise BadRequest(f"'{name}' is not a model that is trained here; {', '.join(TRAINABLE)}.")
    model = TRAINABLE[name]
    if missing := [need for need in model.needs if need not in folders]:
        raise BadRequest(f"{name} is built on a {missing[0]}: give its folder, --{missing[0]}.")
    if spare := [given for given in folders if given not in model.needs + model.takes]:
        raise BadRequest(f"{name} does not use a {spare[0]}. Leave --{spare[0]} out.")
    return model


def with_values(model: Trainable, file: Path | None, settings: Mapping[str, Any]) -> Trainable:
    """The model with other sizes and settings.

    Args:
        file: JSON like the `training.json` of a run: {"about": sizes, "settings": settings}.
        settings: fields of `Settings` that go before the file's.
    Raises:
        BadRequest: the file is no such thing, or names an unknown field.
    """
    try:
        given = json.loads(file.read_text("utf-8")) if file else {}
        config = _changed(model.config, given.get("about", {}))
        mixed = _changed(model.settings, {**given.get("settings", {}), **settings})
    except (ValueError, TypeError, AttributeError, OSError) as error:
        name = file.name if file else "settings"
        raise BadRequest(
            f"'{name}' cannot be used ({error}). See a run's training.json."
        ) from error
    return dataclasses.replace(model, config=config, settings=mixed)


def _changed(values: Any, changes: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """A dataclass with other values; JSON's lists are its tuples, JSON's objects its parts."""
    return dataclasses.replace(
        values, **{key: _like(getattr(values, key, None), v) for key, v in changes.items()}
    )


def _like(old: Any, value: Any) -> Any:  # noqa: ANN401
    """A value out of JSON, of the kind that it takes the place of."""
    if dataclasses.is_dataclass(old) and isinstance(value, dict):
        return _changed(old, value)
    return tuple(_like(None, each) for each in value) if isinstance(value, list) else value
