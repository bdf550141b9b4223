"""Each family against the published formulas, computed anew, and against the users' pipeline.

One row a family: what its denoiser takes and gives, written down from the reference code with the
pipeline's own helpers where it has some, in float64.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    CogVideoXPipeline,
    Flux2Pipeline,
    FluxPipeline,
    QwenImagePipeline,
)
from PIL import Image
from tests import tiny, tiny_families
from tests.tiny_families import distance
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from loraloom import families, train
from loraloom.config import TrainConfig
from loraloom.dataset import footage
from loraloom.families.base import Family
from loraloom.families.parts import text_parts
from loraloom.generate.session import Generator, Request
from loraloom.train import batches, cache, model
from loraloom.train.cache import TensorCache
from loraloom.train.events import Finished, Sampled, Saved, Validated
from loraloom.train.forward import batch_loss
from loraloom.train.inputs import prepare as prepare_inputs
from loraloom.train.setup import Setup, prepare
from loraloom.train.streams import stream, uniform

GAMMA = 5.0
CAPTIONS = ["zk person, front view, smiling, in the snow", 'a hat with "AB" on it']
STEP = 3


@dataclass(frozen=True)
class Noisy:
    """One example as the formulas see it, (1, …) and float64."""

    x0: Tensor
    noise: Tensor
    text: Mapping[str, Tensor]
    u: float
    """Uniform in [0, 1): what the time is drawn from."""
    sizes: tuple[int, ...]
    """Original height, width, crop top, left, target height, width."""


def diffusion(
    predict: Callable[[Any, Tensor, int, Noisy], Tensor], *, v: bool, length: int = 1000,
    last_beta: float = 0.012,
) -> Callable[[Any, Noisy], Tensor]:  # fmt: skip
    """The weighted loss of DDPM with min-SNR."""
    betas = np.linspace(0.00085**0.5, last_beta**0.5, length, dtype=np.float64) ** 2
    alphas = np.cumprod(1 - betas)

    def loss(denoiser: Any, given: Noisy) -> Tensor:
        t = int(given.u * length)
        a = float(alphas[t])
        x_t = math.sqrt(a) * given.x0 + math.sqrt(1 - a) * given.noise
        snr = a / (1 - a)
        velocity = math.sqrt(a) * given.noise - math.sqrt(1 - a) * given.x0
        weight = min(snr, GAMMA) / (snr + 1 if v else snr)
        wanted = velocity if v else given.noise
        return weight * (predict(denoiser, x_t, t, given) - wanted).square().mean()

    return loss


def flow(
    predict: Callable[[Any, Tensor, float, Noisy], Tensor],
    mu: tuple[tuple[int, float], tuple[int, float]] | None = None,
    shift: float = 1.0,
    within: tuple[float, float] = (0.0, 1.0),
) -> Callable[[Any, Noisy], Tensor]:
    """The loss of rectified flow: times are logit-normal, their log odds moved by mu, which is on
    the line through two points (tokens, mu), or the logarithm of `shift`. A token is 2 x 2 latent
    pixels."""
    (low, least), (high, most) = mu or ((0, math.log(shift)), (1, math.log(shift)))

    def loss(denoiser: Any, given: Noisy) -> Tensor:
        tokens = given.x0[0, 0].numel() / 4
        mu = least + (most - least) / (high - low) * (tokens - low)
        # Denoisers see a thousand times the time, so that its last digit counts: float32 as ours.
        sigma = float(np.float32(_drawn_at(given.u, mu, within)))
        x_t = (1 - sigma) * given.x0 + sigma * given.noise
        wanted = given.noise - given.x0
        return (predict(denoiser, x_t, sigma, given) - wanted).square().mean()

    return loss


def _drawn_at(u: float, mu: float, within: tuple[float, float]) -> float:
    """The time before which the share u of those within the range is drawn, found by halving."""

    def share(t: float) -> float:
        if t in (0.0, 1.0):
            return t
        return 0.5 * (1 + math.erf((math.log(t / (1 - t)) - mu) / math.sqrt(2)))

    low, high = within
    wanted = share(low) + u * (share(high) - share(low))
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < wanted else (low, middle)
    return (low + high) / 2


def _sd(unet: Any, x_t: Tensor, t: int, given: Noisy) -> Tensor:
    output: Tensor = unet(x_t, t, encoder_hidden_states=given.text["context"]).sample
    return output


def _sdxl(unet: Any, x_t: Tensor, t: int, given: Noisy) -> Tensor:
    added = {
        "text_embeds": given.text["pooled"],
        "time_ids": torch.tensor([given.sizes], dtype=torch.float64),
    }
    context = given.text["context"]
    output: Tensor = unet(x_t, t, encoder_hidden_states=context, added_cond_kwargs=added).sample
    return output


def _sd3(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    output: Tensor = transformer(
        x_t,
        encoder_hidden_states=given.text["context"],
        pooled_projections=given.text["pooled"],
        timestep=torch.tensor([1000 * sigma], dtype=torch.float64),
    ).sample
    return output


def _flux(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    _, channels, height, width = x_t.shape
    ids = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", torch.float64)
    output = transformer(
        FluxPipeline._pack_latents(x_t, 1, channels, height, width),
        encoder_hidden_states=given.text["context"],
        pooled_projections=given.text["pooled"],
        timestep=torch.tensor([sigma], dtype=torch.float64),
        guidance=torch.tensor([1.0], dtype=torch.float64),
        txt_ids=torch.zeros(512, 3, dtype=torch.float64),
        img_ids=ids,
    ).sample
    unpacked: Tensor = FluxPipeline._unpack_latents(output, 4 * height, 4 * width, 4)
    return unpacked


def _flux2(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    squares = Flux2Pipeline._patchify_latents(x_t)
    ids = Flux2Pipeline._prepare_latent_ids(squares)
    guidance = torch.tensor([1.0], dtype=torch.float64)
    output = transformer(
        Flux2Pipeline._pack_latents(squares),
        encoder_hidden_states=given.text["context"],
        timestep=torch.tensor([sigma], dtype=torch.float64),
        guidance=guidance if transformer.config.guidance_embeds else None,
        txt_ids=Flux2Pipeline._prepare_text_ids(given.text["context"]),
        img_ids=ids,
    ).sample
    unpacked: Tensor = Flux2Pipeline._unpatchify_latents(
        Flux2Pipeline._unpack_latents_with_ids(output, ids)
    )
    return unpacked


def _in_squares(z: Tensor) -> Tensor:
    mean, var = (x.view(1, -1, 1, 1) for x in (tiny_families.FLUX2_MEAN, tiny_families.FLUX2_VAR))
    squares = (Flux2Pipeline._patchify_latents(z) - mean) / (var + 1e-4).sqrt()
    scaled: Tensor = Flux2Pipeline._unpatchify_latents(squares)
    return scaled


def _qwen_image(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    _, channels, height, width = x_t.shape
    output = transformer(
        QwenImagePipeline._pack_latents(x_t, 1, channels, height, width),
        encoder_hidden_states=given.text["context"],
        timestep=torch.tensor([sigma], dtype=torch.float64),
        img_shapes=[[(1, height // 2, width // 2)]],
    ).sample
    unpacked: Tensor = QwenImagePipeline._unpack_latents(output, 4 * height, 4 * width, 4)
    return unpacked[:, :, 0]


def _chroma(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    _, channels, height, width = x_t.shape
    tokens = FluxPipeline._pack_latents(x_t, 1, channels, height, width)
    mask = torch.cat([given.text["mask"], torch.ones(1, tokens.shape[1]).double()], dim=1)
    output = transformer(
        tokens,
        encoder_hidden_states=given.text["context"],
        timestep=torch.tensor([sigma], dtype=torch.float64),
        txt_ids=torch.zeros(512, 3, dtype=torch.float64),
        img_ids=FluxPipeline._prepare_latent_image_ids(
            1, height // 2, width // 2, "cpu", torch.float64
        ),
        attention_mask=mask,
    ).sample
    unpacked: Tensor = FluxPipeline._unpack_latents(output, 4 * height, 4 * width, 4)
    return unpacked


def _z_image(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    time = torch.tensor([np.float32(1) - np.float32(sigma)]).double()
    (output,) = transformer([x_t[0][:, None]], time, [given.text["context"][0]]).sample
    return -output[None, :, 0]


@dataclass(frozen=True)
class Row:
    """What is known of a family from its paper and its reference code."""

    base: str
    """Its tiny base; the family is of the same name, unless `of` says it."""
    loss: Callable[[Any, Noisy], Tensor]
    latent_scale: Callable[[Tensor], Tensor]
    """The VAE's mean (1, C, h, w) -> the latent that is trained on."""
    encoded: tuple[tuple[str, int], ...] = (("context", 0), ("pooled", 2))
    """Name in our condition, and its place in what `encode_prompt` returns."""
    arguments: Mapping[str, Any] = None  # type: ignore[assignment]
    """What else `encode_prompt` wants."""
    layouts: int = 2
    """Adapter files that a run leaves."""
    targets: str = "full"
    """Where the run's adapter goes."""
    clips: bool = False
    """Whether the VAE takes clips, of which a picture is one frame."""
    frames: int = 0
    """Of the clips that a base of video is trained on here; 0: it draws pictures."""
    of: str = ""
    expert: str | None = None
    piped: str = "adapter*.safetensors"
    """The adapter files that its diffusers pipeline reads."""


def _wan(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    text = given.text["context"]
    context = torch.zeros(1, 512, text.shape[-1], dtype=torch.float64)
    context[:, : text.shape[1]] = text
    time = torch.tensor([1000 * np.float32(sigma)]).double()
    output: Tensor = transformer(x_t, timestep=time, encoder_hidden_states=context).sample
    return output


def _hunyuan_video(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    output: Tensor = transformer(
        x_t,
        timestep=torch.tensor([1000 * np.float32(sigma)]).double(),
        encoder_hidden_states=given.text["context"],
        encoder_attention_mask=torch.ones(given.text["context"].shape[:2]).double(),
        pooled_projections=given.text["pooled"],
        guidance=torch.tensor([1000.0], dtype=torch.float64),
    ).sample
    return output


def _hunyuan_video15(transformer: Any, x_t: Tensor, sigma: float, given: Noisy) -> Tensor:
    """With the texts padded, and states of a picture that there is not, as the pipeline gives."""
    padded = {}
    for end, length in (("", 1000), ("_2", 256)):
        context, mask = given.text[f"context{end}"], given.text.get(f"mask{end}")
        shown = context.shape[1] if mask is None else int(mask.sum())
        text = torch.zeros(1, length, context.shape[2], dtype=torch.float64)
        text[:, :shown] = context[:, :shown]
        padded[f"encoder_hidden_states{end}"] = text
        padded[f"encoder_attention_mask{end}"] = (torch.arange(length)[None] < shown).double()
    nothing = torch.zeros(1, x_t.shape[1] + 1, *x_t.shape[2:], dtype=torch.float64)
    output: Tensor = transformer(
        torch.cat([x_t, nothing], dim=1),
        timestep=torch.tensor([1000 * np.float32(sigma)]).double(),
        image_embeds=torch.zeros(1, 729, 8, dtype=torch.float64),
        **padded,
    ).sample
    return output


def cogvideox(*, snr_shift: float) -> Callable[[Any, Noisy], Tensor]:
    """The loss of its own trainer, on latents (1, f, C, h, w); arXiv:2408.06072, section 2.3, and
    for the schedule without a last signal arXiv:2305.08891, algorithm 1."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    abar = np.cumprod(1 - betas)
    roots = np.sqrt(abar / (snr_shift + (1 - snr_shift) * abar))
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])

    def loss(transformer: Any, given: Noisy) -> Tensor:
        t = int(given.u * 1000)
        root, rest = float(roots[t]), math.sqrt(1 - float(roots[t]) ** 2)
        x_t = root * given.x0 + rest * given.noise
        _, _, frames, height, width = x_t.shape
        rotations = None
        if transformer.config.use_rotary_positional_embeddings:
            pipe = SimpleNamespace(vae_scale_factor_spatial=8, transformer=transformer)
            rotations = CogVideoXPipeline._prepare_rotary_positional_embeddings(
                pipe, 8 * height, 8 * width, frames, "cpu"
            )
        output = transformer(
            x_t.transpose(1, 2),
            encoder_hidden_states=given.text["context"],
            timestep=torch.tensor([t]),
            image_rotary_emb=rotations,
        ).sample.transpose(1, 2)
        x0_hat = root * x_t - rest * output
        return ((x0_hat - given.x0).square() / rest**2).mean()

    return loss


_QWEN_MEAN = torch.tensor([-0.7571, -0.7089, -0.9113, 0.1075]).view(4, 1, 1)
_QWEN_STD = torch.tensor([2.8184, 1.4541, 2.3275, 2.6558]).view(4, 1, 1)
_ONE = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
ROWS = [
    Row("sd15", diffusion(_sd, v=False), lambda z: z * 0.18215,
        (("context", 0),), _ONE, targets="attention"),
    Row("sd21", diffusion(_sd, v=True), lambda z: z * 0.18215,
        (("context", 0),), _ONE, targets="attention"),
    Row("sdxl", diffusion(_sdxl, v=False), lambda z: z * 0.13025),
    Row("sd3", flow(_sd3), lambda z: (z - 0.0609) * 1.5305, layouts=1,
        arguments={"prompt_2": None, "prompt_3": None}),
    Row("flux", flow(_flux, ((256, 0.5), (4096, 1.15))),
        lambda z: (z - 0.1159) * 0.3611, (("context", 0), ("pooled", 1)), layouts=1),
    Row("flux2", flow(_flux2, ((256, 0.5), (4096, 1.15))), _in_squares, (("context", 0),),
        layouts=1),
    Row("flux2_klein", flow(_flux2, ((256, 0.5), (4096, 1.15))), _in_squares, (("context", 0),),
        layouts=1),
    Row("chroma", flow(_chroma), lambda z: (z - 0.1159) * 0.3611,
        (("context", 0), ("mask", 2)), layouts=1),
    Row("z_image", flow(_z_image), lambda z: (z - 0.1159) * 0.3611, (("context", 0),)),
    Row("kolors", diffusion(_sdxl, v=False, length=1100, last_beta=0.014), lambda z: z * 0.13025,
        targets="attention"),
    Row("qwen_image", flow(_qwen_image, ((256, 0.5), (8192, 0.9))),
        lambda z: (z - _QWEN_MEAN) / _QWEN_STD, (("context", 0), ("mask", 1)), clips=True),
    Row("wan", flow(_wan, shift=3.0), lambda z: (z - _QWEN_MEAN[:, None]) / _QWEN_STD[:, None],
        (("context", 0),), {"max_sequence_length": 512}, targets="blocks", frames=5),
    Row("wan_5b", flow(_wan, shift=3.0), lambda z: (z - _QWEN_MEAN[:, None]) / _QWEN_STD[:, None],
        (("context", 0),), {"max_sequence_length": 512}, targets="blocks", frames=5, of="wan"),
    Row("wan22", flow(_wan, shift=5.0, within=(0.875, 1.0)),
        lambda z: (z - _QWEN_MEAN[:, None]) / _QWEN_STD[:, None], (("context", 0),),
        {"max_sequence_length": 512}, targets="blocks", frames=5, expert="high_noise"),
    Row("wan22", flow(_wan, shift=5.0, within=(0.0, 0.875)),
        lambda z: (z - _QWEN_MEAN[:, None]) / _QWEN_STD[:, None], (("context", 0),),
        {"max_sequence_length": 512}, targets="blocks", frames=5, expert="low_noise"),
    Row("hunyuan_video", flow(_hunyuan_video, shift=7.0), lambda z: z * 0.476986,
        (("context", 0), ("pooled", 1), ("mask", 2)), frames=9, piped="adapter.safetensors"),
    Row("hunyuan_video15", flow(_hunyuan_video15, shift=3.0), lambda z: z * 1.03682,
        (("context", 0), ("mask", 1), ("context_2", 2), ("mask_2", 3)), {"batch_size": 2},
        frames=9, piped="adapter.safetensors"),
    Row("cogvideox", cogvideox(snr_shift=3.0), lambda z: z * 1.15258426, (("context", 0),),
        frames=9, piped="adapter.safetensors"),
    Row("cogvideox_5b", cogvideox(snr_shift=1.0), lambda z: z * 0.7, (("context", 0),),
        of="cogvideox", frames=9, piped="adapter.safetensors"),
    Row("cogvideox_15", cogvideox(snr_shift=1.0), lambda z: z * 0.7, (("context", 0),),
        of="cogvideox", frames=9, piped="adapter.safetensors"),
]  # fmt: skip


@pytest.fixture(
    params=ROWS, ids=lambda row: f"{row.base} {row.expert or ''}".strip(), scope="module"
)
def row(request: pytest.FixtureRequest) -> Row:
    found: Row = request.param
    return found


@pytest.fixture(scope="module")
def base(row: Row, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_families.save(row.base, tmp_path_factory.mktemp(row.base))


@pytest.fixture(scope="module")
def family(row: Row, base: Path) -> Family:
    found = families.detect(base)
    assert found is families.get(row.of or row.base)
    return found


@pytest.fixture(scope="module")
def pictures(row: Row, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two shapes, so that there are buckets of two shapes and crops off the corner; for a base
    of video the wide ones move."""
    folder = tiny.save_pictures(tmp_path_factory.mktemp("pictures"), 4, size=(50, 46))
    for path in tiny.save_pictures(folder / "wide", 2, size=(97, 60)).iterdir():
        path.rename(folder / f"wide-{path.name}")
    (folder / "wide").rmdir()
    for number in range(2 if row.frames else 0):
        still = folder / f"wide-{number}.png"
        tiny.save_frames(folder / f"wide-{number}", row.frames, size=(97, 60), first=number)
        still.unlink()
    return folder


def _config(row: Row, base: Path, pictures: Path, **overrides: Any) -> TrainConfig:
    data = {"folder": str(pictures), "mirror": True}
    if row.frames:
        data["frames"] = 9
    if row.expert:
        overrides["expert"] = row.expert
    return tiny.config(base, pictures, data=data, **overrides)


def _prepared(config: TrainConfig, folder: Path) -> tuple[Setup, TensorCache]:
    setup, tensors = prepare(config, folder / "out"), TensorCache(folder / "cache")
    for _ in prepare_inputs(setup, tensors):
        pass
    return setup, tensors


def test_texts_are_those_of_the_pipeline(row: Row, base: Path, family: Family) -> None:
    pipe = tiny_families.pipeline(base)
    parts = family.load(base)
    with torch.no_grad():
        ours = family.collate(family.encode_text(parts, CAPTIONS))
        theirs = pipe.encode_prompt(list(CAPTIONS), **(row.arguments or {}))
    for name, place in row.encoded:
        rows = theirs[place]
        rows = pad_sequence(rows, batch_first=True) if isinstance(rows, list) else rows
        if rows.shape != ours[name].shape:  # padded, which ours is not
            mask = "mask_2" if name.endswith("_2") else "mask"
            shown = ours[mask].bool()
            assert not (theirs[dict(row.encoded)[mask]].sum(1) - shown.sum(1)).any()
            torch.testing.assert_close(ours[name][shown], rows[:, : shown.shape[1]][shown].float())
        else:
            torch.testing.assert_close(ours[name], rows.float())


def test_latents_are_scaled_and_come_back(row: Row, base: Path, family: Family) -> None:
    vae = family.load(base, only=("vae",)).vae
    form = family.latent_format(vae)
    shape = (2, 3, *[row.frames][: bool(row.frames)], 32, 48)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        mean, std = family.encode_image(vae, pixels)
        clip = (slice(None), slice(None), None) if row.clips else ()
        z = vae.encode(pixels[clip]).latent_dist
        z_mean, z_std = (x.squeeze(2) if row.clips else x for x in (z.mean, z.std))
        torch.testing.assert_close(mean, row.latent_scale(z_mean))
        torch.testing.assert_close(std, row.latent_scale(z_std) - row.latent_scale(0 * z_std))
        assert mean.shape[1] == form.channels
        assert mean.shape[-2:] == (32 // form.factor, 48 // form.factor)
        decoded = vae.decode(z.mean).sample.clamp(-1, 1)
        own = family.decode(vae, mean)
        decoded = decoded.squeeze(2) if row.clips else decoded
        torch.testing.assert_close(own, decoded, rtol=1e-4, atol=1e-4)


def test_loss_and_gradients_are_the_formula(
    row: Row, base: Path, pictures: Path, tmp_path: Path
) -> None:
    setup, tensors = _prepared(_config(row, base, pictures), tmp_path)
    live = model.load(setup, tensors)
    for name, weight in live.trained.items():
        if "lora_B" in name:  # zero at the start, which would leave lora_A without gradient
            torch.nn.init.normal_(weight, std=0.1, generator=stream(1, name))
    own_net = live.parts.denoiser
    net = copy.deepcopy(own_net).double()
    frozen = {n: p.clone() for n, p in own_net.named_parameters() if ".lora_" not in n}
    wide = [e for e in setup.examples if e.crop.original_width_px == 97]
    batch = (*wide, *wide)[:2]

    loss = batch_loss(setup, live, tensors, batch, STEP, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    reference = torch.stack(
        [row.loss(net, _noisy(setup, tensors, batch, place)) for place in (0, 1)]
    ).mean()
    reference.backward()  # type: ignore[no-untyped-call]

    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    own = {n: p.grad for n, p in own_net.named_parameters() if p.requires_grad}
    other = {n: p.grad for n, p in net.named_parameters() if p.requires_grad}
    assert own.keys() == other.keys() and len(own) == len(live.trained) > 0
    assert all(".lora_" in name for name in own)
    ours, theirs = (_flat(grads) for grads in (own, other))
    assert (ours - theirs).norm() / theirs.norm() < 1e-5
    reached = {name for name, g in own.items() if g is not None and g.any()}
    assert reached == {name for name, g in other.items() if g is not None and g.any()}
    assert len(reached) > 0.8 * len(own)
    live.optimiser.step()
    after = dict(own_net.named_parameters())
    assert all(torch.equal(after[name], weight) for name, weight in frozen.items())


def _flat(gradients: Mapping[str, Tensor | None]) -> Tensor:
    """All that reached an adapter, in one row; the text's side of a last block has no effect."""
    return torch.cat([g.double().flatten() for g in gradients.values() if g is not None])


def _noisy(setup: Setup, tensors: TensorCache, batch: Any, place: int) -> Noisy:
    config, example = setup.config, batch[place]
    pick = batches.pick(example, config.data, config.seed, STEP, place)
    latent = tensors[setup.latent_key(example, pick.mirrored)]
    shape = latent["mean"].shape
    x0 = latent["mean"].double()
    x0 = x0 + latent["std"].double() * torch.randn(shape, generator=pick.generator).double()
    noise = torch.randn(shape, generator=pick.generator).double()
    text = {n: t.double()[None] for n, t in tensors[setup.text_key(pick.caption)].items()}
    start = uniform(stream(config.seed, "timesteps", STEP, 0))
    crop = example.crop
    # 97 x 60 becomes 40 x 25, or whatever its bucket is; the cut is as wide on either side.
    over = crop.resized_px[0] - crop.bucket.width_px
    left = over - over // 2 if pick.mirrored else over // 2
    sizes = (60, 97, crop.top_px, left, crop.bucket.height_px, crop.bucket.width_px)
    return Noisy(x0[None], noise[None], text, (start + place / len(batch)) % 1, sizes)


@pytest.mark.each_time("sd15", "sdxl", "flux", "qwen_image", "wan22 low_noise")
def test_a_run_resumes_exactly_and_draws_alike_in_the_pipeline(
    row: Row, base: Path, family: Family, pictures: Path, tmp_path: Path
) -> None:
    config = _config(
        row, base, pictures, schedule={"steps": 20}, checkpoint={"every_steps": 7},
        adapter={"rank": 4, "alpha": 6.0, "targets": row.targets},
        optimiser={"learning_rate": 0.03},
        validation={"every_steps": 20},
        text_encoder={"ratio": 0.1 if family.info.trained_encoders else 0.0, "learning_rate": 0.03},
    )  # fmt: skip
    _train_beside_a_kill(config, tmp_path / "whole", tmp_path / "killed")
    files = sorted((tmp_path / "whole").glob("*.safetensors"))
    assert len(files) == row.layouts
    for path in files:
        assert path.read_bytes() == (tmp_path / "killed" / path.name).read_bytes()

    request = Request("zk person, a hat", 1, guidance=3.0, steps=2, frames=row.frames or 1)
    ours = Generator(base)
    (plain,) = ours.film([request])
    assert len(plain) == (row.frames or 1)
    pipe = tiny_families.pipeline(base)
    pipe.set_progress_bar_config(disable=True)
    assert distance(plain, tiny_families.drawn(pipe, family, request)) <= 1
    for number, path in enumerate(files):
        ours.load_adapter(path, path.stem)
        ours.set_scales({path.stem: 1.0})
        (own,) = ours.film([request])
        if not path.match(row.piped):
            continue
        second = {"load_into_transformer_2": True} if row.expert == "low_noise" else {}
        tiny_families.load_lora(pipe, path, f"a{number}", **second)
        assert distance(own, tiny_families.drawn(pipe, family, request)) <= 1
        assert distance(own, plain) > 3


@pytest.mark.each_time("sd15", "sdxl", "flux", "wan")
def test_all_of_a_run_in_bfloat16(row: Row, base: Path, pictures: Path, tmp_path: Path) -> None:
    """The VAE of some bases stays in float32, sizes are told in float32, texts are cut."""
    config = _config(
        row, base, pictures, precision="bfloat16", schedule={"steps": 2},
        prior={"images": 0 if row.frames else 1, "steps": 2},
        samples={"prompts": ["a hat " * 50], "steps": 2, "every_steps": 2},
    )  # fmt: skip
    events = list(train.run(config, tmp_path / "out"))
    *_, sampled = [event for event in events if isinstance(event, Sampled)]
    assert _range(sampled.paths[0]) > 0
    assert all(math.isfinite(e.train_loss) for e in events if isinstance(e, Validated))


def test_a_prompt_comes_out_of_the_cache_as_it_went_in(
    row: Row, base: Path, tmp_path: Path
) -> None:
    family = families.detect(base)
    parts = family.load(base, only=text_parts(family.info.parts), dtype=torch.bfloat16)
    embeds = family.prompt_embeds(parts, ["a red hat"], [""])
    list(cache.fill_prompts(TensorCache(tmp_path), family, parts, 0, {"key": "a red hat"}))
    found = cache.prompt_embeds(TensorCache(tmp_path), "key", "cpu")
    torch.testing.assert_close(found, embeds, rtol=0, atol=0)


def _range(path: Path) -> float:
    """Between the darkest and the brightest pixel of a picture, or of a clip's first frame."""
    first = next(footage.frames(path, 1, 1.0)) if path.suffix == ".mp4" else Image.open(path)
    return float(np.ptp(np.asarray(first.convert("L"))))


def _train_beside_a_kill(config: TrainConfig, whole: Path, killed: Path) -> None:
    """A run, and one that goes on from what was on the disk after seven of its steps."""
    for event in train.run(config, whole):
        if isinstance(event, Saved) and event.step == 7:
            shutil.copytree(whole, killed)
    assert isinstance(event, Finished)
    list(train.run(config, killed, resume=True))
