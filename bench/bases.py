"""What the benchmarks train on: a base folder and a folder of pictures, made here, no download."""

import random
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image, ImageDraw
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from loraloom.settings import resolve_base


def base_folder(model: str, work: Path) -> Path:
    """ "starter", a folder, or "sd15": the sizes of Stable Diffusion 1.5 with random weights."""
    return _sd15(work / "sd15") if model == "sd15" else resolve_base(model)


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


def _sd15(folder: Path) -> Path:
    """The published configs of SD 1.5; bfloat16 on the disk, whoever loads it chooses."""
    if (folder / "model_index.json").is_file():
        return folder
    torch.manual_seed(0)
    with torch.device("cpu"):
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
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=_byte_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def _byte_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer over single bytes: its real vocabulary would have to be downloaded."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's byte table
    letters = [chr(byte) for byte in visible]
    letters += [chr(256 + i) for i in range(256 - len(visible))]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
