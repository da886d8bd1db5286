"""Reading model folders: whole or refused, never downloaded, never partly random."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError

from voice2music.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from diffusers import ModelMixin
    from transformers import PreTrainedModel

Model = TypeVar("Model", bound="ModelMixin")

# Buffers that follow from the configuration; files of older library versions lack some of them.
COMPUTED = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")


def transformers_model(kind: str, folder: Path) -> "PreTrainedModel":
    """A transformers model of a local folder, in float32 and evaluation mode.

    Raises:
        CorruptCheckpoint: weights are missing, of other shapes, or unreadable.
    """
    import transformers

    from voice2music.engines.quiet import quiet_transformers

    with damage_named(folder), quiet_transformers():
        model, info = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    _check_whole(folder, info)
    return model.eval()


def diffusers_model(kind: str, folder: Path, dtype: torch.dtype) -> "ModelMixin":
    """A diffusers model of a local folder, in evaluation mode.

    Raises:
        CorruptCheckpoint: weights are missing, of other shapes, or unreadable.
    """
    import diffusers

    return own_model(getattr(diffusers, kind), folder, dtype)


def own_model(kind: "type[Model]", folder: Path, dtype: torch.dtype = torch.float32) -> "Model":
    """A model of a local folder whose class is built on diffusers', in evaluation mode.

    Raises:
        CorruptCheckpoint: weights are missing, of other shapes, or unreadable.
    """
    with damage_named(folder):
        model, info = kind.from_pretrained(
            folder, local_files_only=True, torch_dtype=dtype, output_loading_info=True
        )
    _check_whole(folder, info)
    whole: Model = model.eval()
    return whole


@contextmanager
def damage_named(place: Path) -> Iterator[None]:
    """Turn what the libraries raise for a damaged or foreign file into `CorruptCheckpoint`."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if "DefaultCPUAllocator" in str(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise CorruptCheckpoint(
            f"'{place.parent.name}/{place.name}' cannot be read: {reason}. Fetch or copy the "
            f"checkpoint again."
        ) from error


def _check_whole(folder: Path, info: dict[str, Any]) -> None:
    """Refuse a model of which parts would be left random."""
    lacking = [key for key in info["missing_keys"] if not key.endswith(COMPUTED)]
    lacking += [str(key) for key in info["mismatched_keys"]]
    if lacking:
        raise CorruptCheckpoint(
            f"'{folder.parent.name}/{folder.name}' lacks {len(lacking)} of the model's weights, "
            f"{lacking[0]!r} among them. Fetch or copy the checkpoint again."
        )
