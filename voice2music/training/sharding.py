"""Weights' gradients and the optimiser's states split over the processes (FSDP).

The whole network is one unit: a step gathers all weights, and keeps of gradients and states only
this process's part (Zhao et al. 2023; without resharding what Rajbhandari et al. 2020 call stage
2). The networks here are walked layer by layer, so no smaller unit would know when it is needed.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from voice2music.errors import BadRequest
from voice2music.training.processes import processes


def sharded(network: nn.Module) -> nn.Module:
    """The network, changed in place.

    Raises:
        BadRequest: there is only one process.
    """
    known = processes()
    if known.num_processes < 2:
        raise BadRequest(
            "Sharding splits a run over several processes. Start it with torchrun or accelerate "
            "launch, or leave --sharded out."
        )
    mesh = init_device_mesh(known.device.type, (known.num_processes,))
    fully_shard(network.to(known.device), mesh=mesh, reshard_after_forward=False)
    return network


def whole(value: Tensor) -> Tensor:
    """A tensor with the parts of all processes; all have to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_weights(network: nn.Module) -> dict[str, Any]:
    """What `state.learnt` would give, in the first process; all have to ask."""
    return _learnt(network, get_model_state_dict(network, options=_WHOLE))


def whole_states(
    network: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same, and the optimiser's states."""
    weights, states = get_state_dict(network, optimiser, options=_WHOLE)
    return _learnt(network, weights), dict(states)


def load_whole_states(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    weights: dict[str, Any],
    states: dict[str, Any],
) -> None:
    """Put them back; every process is given all of them and takes its part."""
    set_state_dict(
        network,
        optimiser,
        model_state_dict=weights,
        optim_state_dict=states,
        options=StateDictOptions(full_state_dict=True, strict=False),
    )


def _learnt(network: nn.Module, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Without frozen weights, which the library may or may not leave out."""
    still = {name for name, each in network.named_parameters() if not each.requires_grad}
    return {name: value for name, value in weights.items() if name not in still}


_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
