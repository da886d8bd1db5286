"""The file from which a run goes on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voice2music.errors import CorruptCheckpoint

STATE = "state.pt"


def learnt(network: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that learn, and buffers. The rest is known anyway."""
    still = {name for name, each in network.named_parameters() if not each.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in still}


def load_learnt(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put `learnt` weights back.

    Raises:
        KeyError: they are another network's.
    """
    wanted, given = set(learnt(network)), set(weights)
    if wanted != given:
        raise KeyError(f"other weights: {sorted(wanted ^ given)[0]}")
    network.load_state_dict(dict(weights), strict=False)


def write_state(run: Path, state: Mapping[str, Any]) -> None:
    """The state, whole or not at all."""
    part = run / f".{STATE}.part"
    torch.save(dict(state), part)
    part.replace(run / STATE)


def read_state(run: Path) -> dict[str, Any] | None:
    """The state in a run's folder; None where there is none."""
    path = run / STATE
    if not path.is_file():
        return None
    with fitting(run):
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


@contextmanager
def fitting(run: Path) -> Iterator[None]:
    """A state that cannot be read, or is of another model, is named."""
    try:
        yield
    except (RuntimeError, KeyError, ValueError, TypeError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptCheckpoint(
            f"'{run.name}/{STATE}' is not a state of this model ({why}). Begin in another folder, "
            "or with the sizes that the run began with."
        ) from error
