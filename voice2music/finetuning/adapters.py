"""Which weights learn: all of the decoder, or low-rank adapters in it (LoRA; Hu et al. 2021).

The projections of melody and words are small and are where a new condition comes in, so they learn
in either case.
"""

import copy
from typing import TypeVar

import torch
from torch import nn

from voice2music.errors import MissingPackage
from voice2music.finetuning.recipe import MusicgenRecipe

TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
SEED = 0  # of the adapters' first values
Network = TypeVar("Network", bound=nn.Module)
PROJECTIONS = ("enc_to_dec_proj", "audio_enc_to_dec_proj")


def adapted(network: Network, recipe: MusicgenRecipe) -> Network:
    """The network, changed in place, with only what is to learn requiring gradients.

    Raises:
        MissingPackage: adapters need peft.
    """
    network.requires_grad_(False)
    if recipe.lora:
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise MissingPackage(
                "Adapters need the package peft. Run 'pip install peft', or train with lora 0."
            ) from error
        settings = LoraConfig(
            r=recipe.lora,
            lora_alpha=round(recipe.lora * recipe.lora_alpha),
            target_modules=list(TARGETS),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            inject_adapter_in_model(settings, network.get_submodule("decoder"))
    else:
        network.get_submodule("decoder").requires_grad_(True)
    for name in PROJECTIONS:
        network.get_submodule(name).requires_grad_(True)
    return network


def merged(network: Network) -> Network:
    """A copy with the adapters added into what they adapt; without any, the network itself."""
    from importlib.util import find_spec

    if find_spec("peft") is None:
        return network
    from peft.tuners.lora import LoraLayer

    if not any(isinstance(module, LoraLayer) for module in network.modules()):
        return network
    plain = copy.deepcopy(network)
    for name, module in list(plain.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            place, _, last = name.rpartition(".")
            setattr(plain.get_submodule(place), last, module.base_layer)
    return plain
