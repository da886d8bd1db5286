"""Demucs' hybrid transformer (Rouard et al. 2023) from a local folder.

The folder is laid out as Demucs' own: `htdemucs.yaml`, which lists signatures, and for each of
them a `SIGNATURE-SHA8.th` (the first eight hex digits of its sha256) or, as on the hub, a
`SIGNATURE.safetensors`. A `.th` is a pickle that names a class; Demucs itself would run whatever
it holds, so it is read here with `weights_only=True` and only the names that a real one needs.
"""

import hashlib
import json
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from demucs.htdemucs import HTDemucs
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from voice2music.errors import CorruptCheckpoint

BAG = "htdemucs.yaml"
KLASS = "demucs.htdemucs.HTDemucs"


class Demucs:
    """One network, or several whose estimates are averaged.

    Args:
        networks: HTDemucs, all with the same sources, rate and segment.
        weights: of each in the estimate of the voice.
    """

    level = 1.0  # Demucs was trained on songs of unit variance

    def __init__(self, networks: list[nn.Module], weights: list[float]) -> None:
        first: Any = networks[0]
        self.rate = int(first.samplerate)
        self.segment = int(first.segment * first.samplerate)  # samples
        self._networks = networks
        self._weights = weights
        self._voice = list(first.sources).index("vocals")

    @torch.inference_mode()
    def voice(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `separation.VoiceModel.voice`."""
        batch = torch.from_numpy(np.array(segment))[None]  # (1, 2, samples)
        total = torch.zeros_like(batch[0])
        for network, weight in zip(self._networks, self._weights, strict=True):
            total += weight * network(batch)[0, self._voice]
        found: NDArray[np.float32] = (total / sum(self._weights)).numpy()
        return found


def load(folder: Path) -> Demucs:
    """The model out of `folder`.

    Raises:
        CorruptCheckpoint: files missing or altered, or holding more than weights.
    """
    try:
        bag = yaml.safe_load((folder / BAG).read_text())
        networks = [_network(folder, signature) for signature in bag["models"]]
        voice = list(networks[0].sources).index("vocals")
        weights = [row[voice] for row in bag.get("weights") or []] or [1.0] * len(networks)
        return Demucs(networks, weights)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError) as error:
        raise CorruptCheckpoint(
            f"{folder} does not hold Demucs' weights as it should ({BAG} and what it lists): "
            f"{error}. Run 'voice2music models fetch htdemucs' again."
        ) from error


def _network(folder: Path, signature: str) -> Any:  # noqa: ANN401  demucs has no types
    """One HTDemucs in evaluation mode."""
    stored = folder / f"{signature}.safetensors"
    package = _safetensors(stored) if stored.is_file() else _pickle(folder, signature)
    try:
        network = HTDemucs(*package["args"], **package["kwargs"])
        network.load_state_dict(package["state"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptCheckpoint(
            f"The weights {signature} in {folder} do not fit HTDemucs: {error}"
        ) from error
    return network.eval()


def _safetensors(path: Path) -> dict[str, Any]:
    """The hub's format: tensors, and the constructor's arguments as JSON in the metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CorruptCheckpoint(f"{path} is not a safetensors file: {error}") from error
    if about.get("klass") != KLASS:
        raise CorruptCheckpoint(f"{path} holds a {about.get('klass')}, not an HTDemucs.")
    args, kwargs = (json.loads(about[key], object_hook=_number) for key in ("args", "kwargs"))
    return {"args": args, "kwargs": kwargs, "state": state}


def _number(value: dict[str, Any]) -> dict[str, Any] | Fraction:
    """Demucs stores the segment's 7.8 s as a fraction."""
    if value.get("_type") == "fraction":
        return Fraction(value["numerator"], value["denominator"])
    return value


def _pickle(folder: Path, signature: str) -> dict[str, Any]:
    """Demucs' first format; nothing is allowed in it but weights, numbers and the class."""
    path = next(iter(sorted(folder.glob(f"{signature}-*.th"))), None)
    if path is None:
        raise FileNotFoundError(f"no weights for the signature {signature}")
    digits = path.stem.rsplit("-", 1)[1]
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits):
        raise CorruptCheckpoint(f"{path.name} is damaged: its sha256 does not begin with {digits}.")
    try:
        with torch.serialization.safe_globals(_allowed()):
            package = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CorruptCheckpoint(
            f"{path.name} holds more than weights, so it is not read. "
            f"The hub has the same model as safetensors: 'voice2music models fetch htdemucs'."
        ) from error
    if not isinstance(package, dict) or package.get("klass") is not HTDemucs:
        raise CorruptCheckpoint(f"{path.name} does not hold an HTDemucs.")
    return package


def _allowed() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return [
        HTDemucs,
        Fraction,
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
    ]
