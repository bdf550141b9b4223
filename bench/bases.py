"""What the benchmarks train on: a base folder and a folder of pictures, made here, no download."""

import random
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image, ImageDraw
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

import loraloom
from loraloom.settings import resolve_base

SHIPPED = Path(loraloom.__file__).parent / "data" / "checkpoints"
"""Configs of whole bases, as published."""


def base_folder(model: str, work: Path) -> Path:
    """ "starter", a folder, or random weights in bfloat16 of the sizes of "sd15", of "sdxl" and of
    "flux" (FLUX.1 dev), of which the text encoders have two layers each."""
    made = {"sd15": _sd15, "sdxl": _sdxl, "flux": _flux}.get(model)
    if made is None:
        return resolve_base(model)
    folder = work / model
    if not (folder / "model_index.json").is_file():
        torch.manual_seed(0)
        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
                pipeline = made()
        finally:
            torch.set_default_dtype(usual)
        pipeline.to(dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def picture_folder(folder: Path, images: int, side_px: int) -> Path:
    """Coloured shapes with captions: speed does not depend on what is drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for i in range(images):
        picture = Image.new("RGB", (side_px, side_px), _colour(rng))
        box = sorted(rng.sample(range(side_px), 4))
        ImageDraw.Draw(picture).ellipse((box[0], box[1], box[2], box[3]), fill=_colour(rng))
        picture.save(folder / f"{i:03d}.png")
        (folder / f"{i:03d}.txt").write_text(f"ohwx thing, picture {i} on plain ground")
    return folder


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _sd15() -> DiffusionPipeline:
    """The published configs of SD 1.5."""
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=text,
        tokenizer=_byte_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> DiffusionPipeline:
    shipped = SHIPPED / "sdxl"
    texts = [
        CLIPTextConfig.from_pretrained(shipped / f"text_encoder{end}", num_hidden_layers=2)
        for end in ("", "_2")
    ]
    return StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_config(shipped / "vae"),
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=_byte_tokenizer(),
        tokenizer_2=_byte_tokenizer(),
        unet=UNet2DConditionModel.from_config(shipped / "unet"),
        scheduler=EulerDiscreteScheduler.from_config(
            EulerDiscreteScheduler.load_config(shipped / "scheduler")
        ),
    )


def _flux() -> DiffusionPipeline:
    """Of the transformer the class's own defaults are those of FLUX.1."""
    clip = CLIPTextConfig.from_pretrained(SHIPPED / "sd15" / "text_encoder", num_hidden_layers=2)
    t5 = T5Config(
        d_model=4096, d_kv=64, d_ff=10_240, num_layers=2, num_heads=64,
        feed_forward_proj="gated-gelu", vocab_size=200,
    )  # fmt: skip
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters]
    return FluxPipeline(
        transformer=FluxTransformer2DModel(guidance_embeds=True),
        vae=_vae(latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=CLIPTextModel(clip),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer=_byte_tokenizer(),
        tokenizer_2=T5Tokenizer(vocab=words, extra_ids=0, model_max_length=512),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_image_seq_len=256, max_image_seq_len=4096,
            base_shift=0.5, max_shift=1.15,
        ),
    )  # fmt: skip


def _vae(**settings: Any) -> AutoencoderKL:
    """As wide as that of all of them."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        **settings,
    )


def _byte_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer over single bytes: its real vocabulary would have to be downloaded."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's byte table
    letters = [chr(byte) for byte in visible]
    letters += [chr(256 + i) for i in range(256 - len(visible))]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
