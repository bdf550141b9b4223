"""What a VAE's latents are scaled by, and pictures or clips to latents and back: for all families.

Clips are (B, 3, F, H, W), and their latents (B, C, f, h, w).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


_WHOLE_PX = 2**22
"""Of a clip, or of a picture of 2048 x 2048: at full size a VAE holds several times 128 numbers of
each pixel at once, which are some 10 GiB."""
TILE_PX = 512
"""Side of the tiles of a large picture, where it does not go through whole."""


@dataclass(frozen=True)
class LatentFormat:
    """Latents are (B, channels, H / factor, W / factor), as (z - shift) x scale: about unit size.

    `shift` and `scale` hold one number, one a channel, or one for each place in a channel's squares
    of 2 x 2.
    """

    channels: int
    factor: int
    shift: tuple[float, ...]
    scale: tuple[float, ...]


def format_of(vae: Any) -> LatentFormat:
    """Read from the loaded VAE's config.

    An AutoencoderKL has `scaling_factor` and perhaps `shift_factor`; those of the kind that takes
    clips have a mean and a standard deviation a channel. One with a batch norm has a mean and a
    variance for each place in the squares that are its denoiser's tokens.
    """
    config, norm = vae.config, getattr(vae, "bn", None)
    if norm is not None:
        scale = (norm.running_var + norm.eps).rsqrt()
        sides = 2 ** (len(config.block_out_channels) - 1)
        shift = tuple(norm.running_mean.tolist())
        return LatentFormat(config.latent_channels, sides, shift, tuple(scale.tolist()))
    mean = getattr(config, "latents_mean", None)
    if mean is not None:
        scale = tuple(1 / std for std in config.latents_std)
        factor = getattr(config, "scale_factor_spatial", 2 ** len(config.temperal_downsample))
        return LatentFormat(len(mean), factor, tuple(mean), scale)
    return LatentFormat(
        config.latent_channels,
        2 ** (len(config.block_out_channels) - 1),
        (getattr(config, "shift_factor", None) or 0.0,),
        (config.scaling_factor,),
    )


def encode(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, …) in [-1, 1] -> mean and std of the scaled latents (B, C, …)."""
    alone = pixels.ndim == 4 and takes_clips(vae)
    posterior = vae.encode((pixels.unsqueeze(2) if alone else pixels).to(vae.dtype)).latent_dist
    mean, std = posterior.mean, posterior.std
    if alone:
        mean, std = mean.squeeze(2), std.squeeze(2)
    shift, scale = _factors(vae, mean)
    return (mean - shift) * scale, std * scale


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Scaled latents (B, C, …) -> pixels (B, 3, …) in [-1, 1]."""
    shift, scale = _factors(vae, latents)
    unscaled = (latents / scale + shift).to(vae.dtype)
    if latents.ndim == 5 or not takes_clips(vae):
        pixels: Tensor = vae.decode(unscaled).sample
    else:
        pixels = vae.decode(unscaled.unsqueeze(2)).sample.squeeze(2)
    return pixels.clamp(-1, 1)


def spare_memory(vae: Any, pixels: int) -> None:
    """Let a VAE take clips one by one, and each, of so many pixels in all frames, whole or in
    overlapping tiles, where it can."""
    if not hasattr(vae, "enable_tiling"):
        return
    vae.enable_slicing()
    if pixels > _WHOLE_PX:
        vae.enable_tiling()
    else:
        vae.disable_tiling()


def in_tiles(vae: Any) -> None:
    """Let a VAE take each large picture in overlapping tiles from now on."""
    if hasattr(vae, "tile_latent_min_size"):  # others have small tiles by themselves
        vae.tile_sample_min_size = TILE_PX
        vae.tile_latent_min_size = TILE_PX // format_of(vae).factor
    vae.enable_tiling()


def takes_clips(vae: Any) -> bool:
    """Whether the VAE takes (B, 3, frames, H, W); a picture is a clip of one frame."""
    return hasattr(vae.config, "temperal_downsample")


def pack(latents: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h / 2 x w / 2, 4 C): each 2 x 2 square is one token."""
    b, c, h, w = latents.shape
    squares = latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(b, h // 2 * (w // 2), 4 * c)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, h / 2 x w / 2, 4 C) -> (B, C, h, w) for latents of that height and width."""
    b, _, channels = tokens.shape
    squares = tokens.view(b, height // 2, width // 2, channels // 4, 2, 2)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(b, channels // 4, height, width)


def _factors(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale to broadcast over (B, C, …)."""
    norm = getattr(vae, "bn", None)
    if norm is not None:
        squares = (like.shape[-2] // 2, like.shape[-1] // 2)
        found = (norm.running_mean, (norm.running_var + norm.eps).rsqrt())
        mean, over = (values.to(like).view(-1, 2, 2).repeat(1, *squares) for values in found)
        return mean, over
    form, ones = format_of(vae), [1] * (like.ndim - 2)
    shift, scale = (like.new_tensor(values).view(-1, *ones) for values in (form.shift, form.scale))
    return shift, scale
