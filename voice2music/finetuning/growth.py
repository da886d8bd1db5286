"""A pretrained AudioLDM gets new inputs without changing what it says: all that is new is zero.

The voice's CLAP vector comes beside the words' (concatenation), the tune frame by frame as further
input channels, and FiLM lets both scale and shift every block.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from voice2music.engines.audioldm.film import attach
from voice2music.engines.audioldm.layout import Layout
from voice2music.engines.audioldm.melody import MelodyRows
from voice2music.errors import BadRequest

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@dataclass(frozen=True)
class Growth:
    """What a UNet is to have afterwards; what it has already stays as it is.

    Args:
        voice: CLAP of the voice beside that of the words.
        film: scales and shifts by both.
        melody: rows of the tune among the input channels, None for none.
    """

    voice: bool = True
    film: bool = False
    melody: MelodyRows | None = None


def grown(
    unet: "UNet2DConditionModel", layout: Layout, clap: int, growth: Growth
) -> tuple["UNet2DConditionModel", Layout]:
    """The UNet, changed in place, and the layout of what it is now.

    Args:
        clap: size of CLAP's vectors.
    Raises:
        BadRequest: its class embedding is not a linear projection of CLAP's vector, or it has
            other melody rows.
    """
    if growth.voice and layout.clap != "concatenated":
        _widen_words(unet, clap)
        # Its own "no words" stays: the embedding of the empty text.
        layout = replace(layout, clap="concatenated", empty="text")
    if growth.melody is not None and layout.melody != growth.melody:
        if layout.melody is not None:
            raise BadRequest("The checkpoint has other melody rows already. Keep those.")
        _widen_input(unet, growth.melody.channels)
        layout = replace(layout, melody=growth.melody)
    if growth.film and not (layout.film or _scales(unet)):
        attach(unet)
        layout = replace(layout, film=True)
    return unet, layout


@torch.no_grad()
def without_tune(
    unet: "UNet2DConditionModel", layout: Layout
) -> tuple["UNet2DConditionModel", Layout]:
    """The UNet, changed in place, without rows of a tune: as it was with rows of zeros.

    A model that is trained without the tune must not be given one when it plays.
    """
    if layout.melody is None:
        return unet, layout
    old = unet.conv_in
    left = old.in_channels - layout.melody.channels
    new = nn.Conv2d(left, old.out_channels, old.kernel_size, old.stride, old.padding).to(old.weight)
    new.weight.copy_(old.weight[:, :left])
    new.bias = old.bias
    unet.conv_in = new
    unet.register_to_config(in_channels=left)
    return unet, replace(layout, melody=None)


def _scales(unet: "UNet2DConditionModel") -> bool:
    return bool(unet.config.resnet_time_scale_shift == "scale_shift")


@torch.no_grad()
def _widen_words(unet: "UNet2DConditionModel", clap: int) -> None:
    """Room for a second vector behind the first, heard with weight zero."""
    old = unet.class_embedding
    if not isinstance(old, nn.Linear) or old.in_features != clap:
        raise BadRequest(
            "The checkpoint's class embedding is not a projection of one CLAP vector, so a voice "
            "cannot be added to it. Begin with an AudioLDM."
        )
    unet.class_embedding = _wider_linear(old, clap)
    unet.register_to_config(projection_class_embeddings_input_dim=2 * clap)


def _wider_linear(old: nn.Linear, more: int) -> nn.Linear:
    new = nn.Linear(old.in_features + more, old.out_features, old.bias is not None)
    new.to(old.weight)
    new.weight.copy_(functional.pad(old.weight, (0, more)))
    if old.bias is not None:
        new.bias.copy_(old.bias)
    return new


@torch.no_grad()
def _widen_input(unet: "UNet2DConditionModel", rows: int) -> None:
    """Further input channels, heard with weight zero."""
    old = unet.conv_in
    new = nn.Conv2d(
        old.in_channels + rows, old.out_channels, old.kernel_size, old.stride, old.padding
    ).to(old.weight)
    new.weight.copy_(functional.pad(old.weight, (0, 0, 0, 0, 0, rows)))
    new.bias = old.bias
    unet.conv_in = new
    unet.register_to_config(in_channels=old.in_channels + rows)
