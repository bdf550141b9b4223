"""A tiny random SD 1.5 pipeline and random LoRA layers in it, injected by PEFT."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
BLOCKS = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
FULL = [*BLOCKS, "conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv",
        "upsamplers.0.conv"]  # fmt: skip
CLIP = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def pipeline(seed: int = 0) -> StableDiffusionPipeline:
    """All of SD 1.5's classes, smallest sizes, no tokenizer: prompts go in as embeddings."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=514,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
        )
    )
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    pipe = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text.eval(),
        tokenizer=None,
        unet=unet.eval(),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def inject(model: nn.Module, targets: list[str], *, rank: int, alpha: float, seed: int = 1) -> None:
    """LoRA layers with random, non-zero weights in both halves."""
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
    inject_adapter_in_model(config, model)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for part in (module.lora_A, module.lora_B):
                weight = part["default"].weight
                weight.data = torch.randn(weight.shape, generator=generator) * 0.3


@torch.no_grad()
def picture(pipe: StableDiffusionPipeline) -> Tensor:
    """(1, 8, 8, 3) in [0, 1]: text encoder, denoiser and codec all take part."""
    embeds = pipe.text_encoder(torch.arange(8)[None]).last_hidden_state  # (1, 8, 16)
    return torch.from_numpy(
        pipe(
            prompt_embeds=embeds,
            negative_prompt_embeds=torch.zeros_like(embeds),
            num_inference_steps=2,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(5),
            output_type="np",
        ).images
    )


def tokenizer() -> CLIPTokenizer:
    """CLIP's own tokenizer over single bytes, no merges: 514 tokens."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's byte table
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = [chr(byte) for byte in visible] + [chr(256 + i) for i in range(len(hidden))]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def base_folder(folder: Path) -> Path:
    """The tiny pipeline with its tokenizer, saved as a diffusers folder."""
    pipe = pipeline()
    pipe.register_modules(tokenizer=tokenizer())
    pipe.save_pretrained(folder)
    return folder
