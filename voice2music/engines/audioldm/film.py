"""FiLM that is added to a UNet which has none: words and voice scale and shift every block.

A pretrained AudioLDM only adds its embeddings to the features. Turning that into scales and shifts
inside the blocks would change what it says; scales and shifts of what the blocks give, zero at
first, do not. (FiLM: Perez et al. 2018.) They lie beside the UNet in `unet/film.safetensors`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from voice2music.engines.audioldm.reading import damage_named

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

FILE = "film.safetensors"
NAME = "film"  # under which a UNet carries it


class Film(nn.Module):
    """One linear layer per residual block, from its embedding to scales and shifts.

    Args:
        sizes: of each block's embedding and output channels.
    """

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(given, 2 * out) for given, out in sizes)
        for layer in self.layers:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class _Modulation:
    """What is done to one block's output; an object, so that a copied UNet uses its own copy."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def __call__(self, block: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
        scale, shift = self._layer(functional.silu(given[1]))[:, :, None, None].chunk(2, dim=1)
        modulated: Tensor = out * (1 + scale) + shift
        return modulated


def attach(unet: "UNet2DConditionModel") -> Film:
    """Give a UNet FiLM that changes nothing yet; it becomes its part `film`."""
    blocks = _blocks(unet)
    film = Film([(block.time_emb_proj.in_features, block.out_channels) for block in blocks])
    film.to(next(unet.parameters()))
    setattr(unet, NAME, film)
    for block, layer in zip(blocks, film.layers, strict=True):
        block.register_forward_hook(_Modulation(layer))
    return film


def save_film(unet: "UNet2DConditionModel", folder: Path) -> None:
    """Half-precision weights into a UNet's folder."""
    state = unet.get_submodule(NAME).state_dict()
    save_file({key: value.half().cpu().contiguous() for key, value in state.items()}, folder / FILE)


def load_film(unet: "UNet2DConditionModel", folder: Path) -> None:
    """Attach what `save_film` wrote.

    Raises:
        CorruptCheckpoint: missing, damaged, or of another UNet.
    """
    film = attach(unet)
    with damage_named(folder / FILE):
        film.load_state_dict(load_file(folder / FILE))
    film.to(next(unet.parameters()))


def without_film(unet: "UNet2DConditionModel") -> dict[str, Tensor]:
    """The UNet's own weights, as its library knows them."""
    mine = f"{NAME}."
    return {key: value for key, value in unet.state_dict().items() if not key.startswith(mine)}


def _blocks(unet: "UNet2DConditionModel") -> list[Any]:
    from diffusers.models.resnet import ResnetBlock2D

    return [module for module in unet.modules() if isinstance(module, ResnetBlock2D)]
