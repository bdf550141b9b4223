"""What a VAE's latents are scaled by, and pictures or clips to latents and back: for all families.

Clips are (B, 3, F, H, W), and their latents (B, C, f, h, w).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LatentFormat:
    """Latents are (B, channels, H / factor, W / factor), as (z - shift) x scale: about unit size.

    `shift` and `scale` hold one number, or one a channel.
    """

    channels: int
    factor: int
    shift: tuple[float, ...]
    scale: tuple[float, ...]


def format_of(vae: Any) -> LatentFormat:
    """Read from the loaded VAE's config.

    An AutoencoderKL has `scaling_factor` and perhaps `shift_factor`; those of the kind that takes
    clips have a mean and a standard deviation a channel.
    """
    config = vae.config
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


def tile(vae: Any, wanted: bool) -> None:
    """Let a VAE that can decode in overlapping tiles, which takes less memory, or in one piece."""
    if hasattr(vae, "enable_tiling"):
        vae.enable_tiling() if wanted else vae.disable_tiling()


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
    form, ones = format_of(vae), [1] * (like.ndim - 2)
    shift, scale = (like.new_tensor(values).view(-1, *ones) for values in (form.shift, form.scale))
    return shift, scale
