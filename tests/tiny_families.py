"""A tiny random base of each family in the real classes, saved as a diffusers folder."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    ChromaPipeline,
    ChromaTransformer2DModel,
    ClassifierFreeGuidance,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    KolorsPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from diffusers.pipelines.kolors import ChatGLMModel, ChatGLMTokenizer
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig
from PIL import Image
from tests import tiny
from transformers import (
    ByT5Tokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    LlamaConfig,
    LlamaModel,
    LlamaTokenizer,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from loraloom.families.base import Family
from loraloom.generate.session import Request

NATIVE_PX = 32
PROCESSOR = "PixtralProcessor"
"""Stated for FLUX.2's tokenizer. The class needs torchvision, for pictures; see `pipeline`."""
FLUX2_MEAN = torch.linspace(-0.5, 0.5, 16)
FLUX2_VAR = torch.linspace(0.5, 2.0, 16)
"""Of the four places in a square of each of four channels."""


def save(family: str, folder: Path, seed: int = 0) -> Path:
    """The base of a family, for pictures of 32 px, in `folder`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipe = BUILDERS[family]()
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            _shake(module)
    pipe.save_pretrained(folder)
    if family == "flux2":
        index = folder / "model_index.json"
        index.write_text(index.read_text().replace("Qwen2Tokenizer", PROCESSOR))
    multiple_px = 32 if family == "wan_5b" else 16
    facts = f"native_px = {NATIVE_PX}\nsize_multiple_px = {multiple_px}\n"
    (folder / "loraloom.toml").write_text(f'title = "Tiny"\n{facts}')
    return folder


def pipeline(folder: Path) -> Any:
    """The users' pipeline of a saved base; a processor's tokenizer stands for the processor, which
    has it turn a text alone into tokens."""
    if PROCESSOR not in (folder / "model_index.json").read_text():
        return DiffusionPipeline.from_pretrained(folder)
    pipe = DiffusionPipeline.from_pretrained(folder, tokenizer=None)
    pipe.register_modules(tokenizer=Qwen2Tokenizer.from_pretrained(folder / "tokenizer"))
    return pipe


def load_lora(pipe: Any, path: Path, name: str = "default", **more: Any) -> None:
    """As users do: into the pipeline, or its transformer where the pipeline takes none."""
    host = pipe if hasattr(pipe, "load_lora_weights") else pipe.transformer
    load = getattr(host, "load_lora_weights", None) or host.load_lora_adapter
    load(path, adapter_name=name, **more)
    host.set_adapters(name)


def drawn(pipe: Any, family: Family, request: Request) -> list[Image.Image]:
    """The frames that the users' pipeline draws, one of a picture."""
    negative = {"negative_prompt": ""} if family.info.guidance == "true_cfg_scale" else {}
    moving = {"num_frames": request.frames, "output_type": "pil"} if family.info.frames else {}
    guided = {family.info.guidance: request.guidance} if family.info.guidance else {}
    if not guided:
        pipe.guider = pipe.guider.new(guidance_scale=request.guidance)
    output = pipe(
        prompt=request.prompt, **negative, **moving, num_inference_steps=request.steps, **guided,
        width=NATIVE_PX, height=NATIVE_PX,
        generator=torch.Generator().manual_seed(request.seed),
    )  # fmt: skip
    frames: list[Image.Image] = output.frames[0] if moving else output.images
    return frames


def distance(a: list[Image.Image], b: list[Image.Image]) -> float:
    """The largest difference of a colour, of 255, in two clips; a picture is one of one frame."""
    left, right = (np.stack([np.asarray(f, dtype=np.int16) for f in clip]) for clip in (a, b))
    return float(np.abs(left - right).max())


def sd15() -> Any:
    return _stable_diffusion(_unet(cross_attention_dim=16), 16, "epsilon", 0.18215)


def sd21() -> Any:
    """Text 1024 wide is what tells it; v-prediction."""
    unet = _unet(cross_attention_dim=1024, use_linear_projection=True)
    return _stable_diffusion(unet, 1024, "v_prediction", 0.18215)


def _stable_diffusion(
    unet: UNet2DConditionModel, width: int, prediction: str, scale: float
) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        unet=unet,
        vae=_vae(scaling_factor=scale),
        text_encoder=CLIPTextModel(_clip(width)),
        tokenizer=tiny.byte_tokenizer(),
        scheduler=tiny.scheduler(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> Any:
    return StableDiffusionXLPipeline(
        unet=_unet(
            cross_attention_dim=16 + 24,
            use_linear_projection=True,
            **_added(projection_dim=12),
        ),
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip(16)),
        text_encoder_2=CLIPTextModelWithProjection(_clip(24, projection_dim=12)),
        tokenizer=tiny.byte_tokenizer(),
        tokenizer_2=_padded_with("!"),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        ),
        add_watermarker=False,
    )  # fmt: skip


def sd3() -> Any:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=40,
        pooled_projection_dim=10 + 12,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        vae=_vae(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=CLIPTextModelWithProjection(_clip(16, projection_dim=10)),
        text_encoder_2=CLIPTextModelWithProjection(_clip(16, projection_dim=12)),
        text_encoder_3=_t5(40),
        tokenizer=tiny.byte_tokenizer(),
        tokenizer_2=_padded_with("!"),
        tokenizer_3=_t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux(guidance: bool = True) -> Any:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=40,
        pooled_projection_dim=16,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        transformer=transformer,
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=CLIPTextModel(_clip(16)),
        text_encoder_2=_t5(40),
        tokenizer=tiny.byte_tokenizer(),
        tokenizer_2=_t5_tokenizer(),
        scheduler=_dynamic(base_shift=0.5, max_shift=1.15)
        if guidance
        else FlowMatchEulerDiscreteScheduler(shift=1.0),
    )


def chroma() -> Any:
    return ChromaPipeline(
        transformer=ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=40,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ),
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_t5(40),
        tokenizer=_t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux2() -> Any:
    """Its text encoder has all of the thirty layers that are looked at, and few numbers in each."""
    tokenizer = _qwen_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[INST]", "[/INST]"]})
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"
    tokenizer.chat_template = (
        "{% for m in messages %}{% for part in m.content %}{% if m.role == 'user' %}[INST]"
        "{{ part.text }}[/INST]{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    )
    text = {
        "model_type": "mistral", "vocab_size": len(tokenizer), "hidden_size": 8,
        "intermediate_size": 8, "num_hidden_layers": 30, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4,
    }  # fmt: skip
    vision = {
        "model_type": "pixtral", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "head_dim": 8, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    return Flux2Pipeline(
        transformer=_flux2_transformer(3 * 8, guidance=True),
        vae=_flux2_vae(),
        text_encoder=Mistral3ForConditionalGeneration(
            Mistral3Config(text_config=text, vision_config=vision)
        ),
        tokenizer=tokenizer,
        scheduler=_dynamic(base_shift=0.5, max_shift=1.15),
    )


def flux2_klein() -> Any:
    """The base one, with the layers of the published one."""
    tokenizer = _chatting(_qwen_tokenizer())
    return Flux2KleinPipeline(
        transformer=_flux2_transformer(3 * 8, guidance=False),
        vae=_flux2_vae(),
        text_encoder=Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8,
                num_hidden_layers=27, num_attention_heads=2, num_key_value_heads=1, head_dim=4,
            )
        ),
        tokenizer=tokenizer,
        scheduler=_dynamic(base_shift=0.5, max_shift=1.15),
    )  # fmt: skip


def _flux2_transformer(width: int, *, guidance: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=width, timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4), guidance_embeds=guidance,
    )  # fmt: skip


def _flux2_vae() -> AutoencoderKLFlux2:
    vae = AutoencoderKLFlux2(
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        layers_per_block=1,
    )
    vae.bn.running_mean.copy_(FLUX2_MEAN)
    vae.bn.running_var.copy_(FLUX2_VAR)
    return vae


def z_image() -> Any:
    tokenizer = _chatting(_qwen_tokenizer())
    text_encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=3,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        )
    )  # fmt: skip
    return ZImagePipeline(
        transformer=ZImageTransformer2DModel(
            in_channels=4, dim=48, n_layers=2, n_refiner_layers=1, n_heads=3, n_kv_heads=3,
            cap_feat_dim=16, axes_dims=[4, 4, 8], axes_lens=[640, 32, 32],
        ),
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def kolors() -> Any:
    """Its tokenizer needs a file; where that lies is forgotten once it is saved again."""
    return KolorsPipeline(
        unet=_unet(
            cross_attention_dim=20,
            encoder_hid_dim=24,
            encoder_hid_dim_type="text_proj",
            use_linear_projection=True,
            **_added(projection_dim=24),
        ),
        vae=_vae(),
        text_encoder=_chatglm(24),
        tokenizer=_chatglm_tokenizer(),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.014, beta_schedule="scaled_linear",
            num_train_timesteps=1100, steps_offset=1, timestep_spacing="leading",
        ),
    )  # fmt: skip


def qwen_image() -> Any:
    tokenizer = _qwen_tokenizer()
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 4, 8),
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 2, 2],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[-0.7571, -0.7089, -0.9113, 0.1075],
            latents_std=[2.8184, 1.4541, 2.3275, 2.6558],
        ),
        text_encoder=_qwen(16, len(tokenizer)),
        tokenizer=tokenizer,
        scheduler=_dynamic(base_shift=0.5, max_shift=0.9, max_image_seq_len=8192,
                           shift_terminal=0.02),
    )  # fmt: skip


def wan(**facts: Any) -> Any:
    return WanPipeline(
        **{
            "transformer": _wan_transformer(),
            "vae": _wan_vae(),
            "text_encoder": _umt5(40),
            "tokenizer": _t5_tokenizer(),
            "scheduler": _unipc(),
            **facts,
        }
    )


def wan_5b() -> Any:
    """Two pixels a side into one before the VAE, and a time for each token."""
    vae = _wan_vae(
        is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16
    )
    return wan(vae=vae, expand_timesteps=True)


def wan22() -> Any:
    return wan(transformer_2=_wan_transformer(), boundary_ratio=0.875)


def _wan_transformer() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=12,
        text_dim=40, freq_dim=16, ffn_dim=32,
    )  # fmt: skip


def _wan_vae(**facts: Any) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        **{
            "base_dim": 4,
            "z_dim": 4,
            "dim_mult": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "latents_mean": [-0.7571, -0.7089, -0.9113, 0.1075],
            "latents_std": [2.8184, 1.4541, 2.3275, 2.6558],
            **facts,
        }
    )


def cogvideox(scale: float = 1.15258426, **facts: Any) -> Any:
    """The 2B, or with `facts` of its denoiser the others."""
    return CogVideoXPipeline(
        transformer=CogVideoXTransformer3DModel(
            in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2,
            attention_head_dim=16, time_embed_dim=8, text_embed_dim=40, sample_width=6,
            sample_height=4, sample_frames=9, **facts,
        ),
        vae=AutoencoderKLCogVideoX(
            latent_channels=4, block_out_channels=(4, 4, 4, 4), layers_per_block=1,
            norm_num_groups=2, scaling_factor=scale,
        ),
        text_encoder=_t5(40),
        tokenizer=_t5_tokenizer(),
        scheduler=CogVideoXDDIMScheduler(
            beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False,
            rescale_betas_zero_snr=True, timestep_spacing="trailing",
            snr_shift_scale=1.0 if facts else 3.0,
        ),
    )  # fmt: skip


def hunyuan_video() -> Any:
    tokenizer = _llama_tokenizer()
    return HunyuanVideoPipeline(
        transformer=HunyuanVideoTransformer3DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16,
            num_layers=1, num_single_layers=1, num_refiner_layers=1, text_embed_dim=16,
            pooled_projection_dim=16, rope_axes_dim=(4, 6, 6),
        ),
        vae=AutoencoderKLHunyuanVideo(
            latent_channels=4, block_out_channels=(4, 4, 4, 4), layers_per_block=1,
            norm_num_groups=2,
        ),
        text_encoder=LlamaModel(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16,
                num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1,
            )
        ),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModel(_clip(16)),
        tokenizer_2=tiny.byte_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )  # fmt: skip


def hunyuan_video15() -> Any:
    tokenizer = _chatting(_qwen_tokenizer())
    return HunyuanVideo15Pipeline(
        transformer=HunyuanVideo15Transformer3DModel(
            in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=16,
            num_layers=2, num_refiner_layers=1, text_embed_dim=16, text_embed_2_dim=24,
            image_embed_dim=8, rope_axes_dim=(4, 6, 6), task_type="t2v",
        ),
        vae=AutoencoderKLHunyuanVideo15(
            latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
        ),
        text_encoder=Qwen2_5_VLTextModel(
            Qwen2_5_VLTextConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16,
                num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
                rope_scaling={"type": "mrope", "mrope_section": [1, 1, 2]},
                bos_token_id=0, eos_token_id=0, pad_token_id=0,
            )
        ),
        tokenizer=tokenizer,
        text_encoder_2=_t5(24),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    )  # fmt: skip


def _llama_tokenizer() -> LlamaTokenizer:
    """Of letters and pieces of the template's words: that has little more than 95 tokens, as with
    the published one."""
    words = DEFAULT_PROMPT_TEMPLATE["template"].split()
    letters = " ".join(chr(code) for code in range(33, 127))
    tokenizer = LlamaTokenizer().train_new_from_iterator([letters, *words * 9], vocab_size=300)
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "right"
    tokenizer.add_special_tokens(
        {"pad_token": "<pad>", "additional_special_tokens": [
            "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
        ]}
    )  # fmt: skip
    return tokenizer


def _unipc() -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )


def _umt5(width: int) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=200, d_model=width, d_kv=8, d_ff=16, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip


def _unet(**facts: Any) -> UNet2DConditionModel:
    """With two ResNets a resolution, as published: checkpoint files count the blocks through."""
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "layers_per_block": 2,
            "block_out_channels": (8, 16),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (1, 2),
            "norm_num_groups": 4,
            **facts,
        }
    )


def _added(projection_dim: int) -> dict[str, Any]:
    """SDXL's added conditions: six sizes beside the pooled text."""
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": projection_dim + 6 * 8,
    }


def _vae(**facts: Any) -> AutoencoderKL:
    return AutoencoderKL(
        **{
            "latent_channels": 4,
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "block_out_channels": (8, 8, 8),
            "norm_num_groups": 4,
            "scaling_factor": 0.13025,
            **facts,
        }
    )


def _clip(width: int, **facts: Any) -> CLIPTextConfig:
    tokenizer = tiny.byte_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **facts,
    )


def _padded_with(token: str) -> CLIPTokenizer:
    """CLIP-G's tokenizer pads with "!", not with the end."""
    tokenizer = tiny.byte_tokenizer()
    tokenizer.pad_token = token
    return tokenizer


def _t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=200, d_model=width, d_kv=8, d_ff=16, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", dense_act_fn="gelu_new", is_gated_act=True,
        )
    )  # fmt: skip


def _t5_tokenizer() -> T5Tokenizer:
    """Of single letters."""
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words += [(chr(code), -3.0) for code in range(33, 127)]
    return T5Tokenizer(vocab=words, extra_ids=0, model_max_length=512)


def _dynamic(**facts: Any) -> FlowMatchEulerDiscreteScheduler:
    """Shifted by the number of tokens."""
    return FlowMatchEulerDiscreteScheduler(
        **{"use_dynamic_shifting": True, "base_image_seq_len": 256, "max_image_seq_len": 4096,
           **facts}
    )  # fmt: skip


def _chatglm(width: int) -> ChatGLMModel:
    model = ChatGLMModel(
        ChatGLMConfig(
            num_layers=3, padded_vocab_size=200, hidden_size=width, ffn_hidden_size=16,
            kv_channels=12, num_attention_heads=2, seq_length=512, multi_query_attention=True,
            add_qkv_bias=True, original_rope=True,
        )
    )  # fmt: skip
    for weight in model.parameters():  # the class leaves them as the memory was
        torch.nn.init.normal_(weight, std=0.1)
    return model


def _chatglm_tokenizer() -> ChatGLMTokenizer:
    """A sentencepiece model of single letters."""
    letters = [chr(code) for code in range(33, 127)]
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["".join(letters)] * 9), model_writer=content, model_type="char",
        vocab_size=len(letters) + 4, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    path = Path(tempfile.mkdtemp()) / "tokenizer.model"
    path.write_bytes(content.getvalue())
    return ChatGLMTokenizer(str(path))


def _qwen_tokenizer() -> Qwen2Tokenizer:
    tokenizer = Qwen2Tokenizer(vocab=tiny.byte_vocabulary(), merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def _chatting(tokenizer: Qwen2Tokenizer) -> Qwen2Tokenizer:
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
        "{% endif %}"
    )
    return tokenizer


def _qwen(width: int, vocabulary: int) -> Qwen2_5_VLForConditionalGeneration:
    text = {
        "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
        "out_hidden_size": width, "fullatt_block_indexes": [0],
    }  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    )


@torch.no_grad()
def _shake(module: torch.nn.Module) -> None:
    """No weight is exactly zero or one, as none is after training: zeros would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        weight += 0.02 * torch.randn(weight.shape, generator=generator)


BUILDERS: dict[str, Callable[[], Any]] = {
    "sd15": sd15,
    "sd21": sd21,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "flux_schnell": partial(flux, guidance=False),
    "flux2": flux2,
    "flux2_klein": flux2_klein,
    "chroma": chroma,
    "z_image": z_image,
    "kolors": kolors,
    "qwen_image": qwen_image,
    "wan": wan,
    "wan_5b": wan_5b,
    "wan22": wan22,
    "hunyuan_video": hunyuan_video,
    "hunyuan_video15": hunyuan_video15,
    "cogvideox": cogvideox,
    "cogvideox_5b": partial(cogvideox, 0.7, use_rotary_positional_embeddings=True),
    "cogvideox_15": partial(
        cogvideox, 0.7, use_rotary_positional_embeddings=True, patch_size_t=2, patch_bias=False
    ),
}
