"""What an adapter file says of itself: `ss_*` (kohya), `modelspec.*` (Stability AI), our own.

Field names: kohya-ss/sd-scripts train_network.py; Stability-AI/ModelSpec 1.0.0.
`sshs_model_hash` and `modelspec.hash_sha256` depend on the tensors: file.py adds them.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import loraloom
from loraloom.config import AdapterType


@dataclass(frozen=True)
class AdapterMetadata:
    """The facts of a run; `to_strings` puts them into a file's words."""

    title: str
    base_name: str  # as the user gave it: "starter", a hub id, a folder's name
    base_version: str  # kohya's word: "sd_v1", "sd_v2", "sdxl_base_v1-0"
    architecture: str  # ModelSpec's word: "stable-diffusion-v1/lora"
    prediction_type: str  # diffusers' word: "epsilon", "v_prediction"; or "flow"
    trigger: str
    rank: int  # the block size of what has none
    alpha: float | None
    width_px: int
    height_px: int
    steps: int
    step: int  # of these, when the adapter was as it is in the file
    seed: int
    batch_size: int
    accumulation: int  # batches an optimiser step
    precision: str  # "float32", "bfloat16", "float16"
    learning_rate: float
    text_encoder_learning_rate: float | None  # None: the text encoder was not trained
    optimiser: str
    schedule: str
    warmup_steps: int
    captions: Sequence[str]  # one per training image
    buckets: Mapping[tuple[int, int], int]  # (width_px, height_px) -> images
    regularisation_images: int
    dataset_hash: str
    recipe: Mapping[str, object] = field(default_factory=dict)  # the whole config, for JSON
    min_snr_gamma: float | None = None
    noise_offset: float = 0.0
    clip_skip: int = 0  # last text encoder layers left out
    caption_dropout: float = 0.0
    shuffle_tags: bool = False
    keep_tags: int = 0
    mirror: bool = False
    prior_weight: float = 1.0
    max_grad_norm: float = 1.0
    dropout: float = 0.0
    adapter_type: AdapterType = "lora"
    description: str = ""
    tags: str = ""  # with commas
    author: str = ""
    licence: str = ""
    date: str | None = None  # ISO 8601; never taken from the clock, so that a rerun is the same

    def to_strings(self) -> dict[str, str]:
        """All fields as the text-to-text table of a safetensors file."""
        return {**self._kohya(), **self._modelspec(), **self._own()}

    def _kohya(self) -> dict[str, str]:
        trains_text = self.text_encoder_learning_rate is not None
        fields: dict[str, object] = {
            "ss_output_name": self.title,
            "ss_sd_model_name": self.base_name,
            "ss_base_model_version": self.base_version,
            "ss_v2": self.base_version.startswith("sd_v2"),
            **_network(self.adapter_type),
            "ss_network_dim": self.rank,
            "ss_network_alpha": self.alpha,
            "ss_network_dropout": self.dropout or None,
            "ss_resolution": (self.width_px, self.height_px),
            "ss_bucket_info": json.dumps(bucket_info(self.buckets)),
            "ss_enable_bucket": len(self.buckets) > 1,
            "ss_tag_frequency": json.dumps(
                {self.title: tag_frequency(self.captions)}, ensure_ascii=False
            ),
            "ss_num_train_images": len(self.captions),
            "ss_num_reg_images": self.regularisation_images,
            "ss_max_train_steps": self.steps,
            "ss_steps": self.step,
            "ss_batch_size_per_device": self.batch_size,
            "ss_total_batch_size": self.batch_size * self.accumulation,
            "ss_gradient_accumulation_steps": self.accumulation,
            "ss_seed": self.seed,
            "ss_learning_rate": self.learning_rate,
            "ss_unet_lr": self.learning_rate,
            "ss_text_encoder_lr": self.text_encoder_learning_rate if trains_text else "None",
            "ss_optimizer": self.optimiser,
            "ss_lr_scheduler": self.schedule,
            "ss_lr_warmup_steps": self.warmup_steps,
            "ss_mixed_precision": _MIXED_PRECISION[self.precision],
            "ss_min_snr_gamma": self.min_snr_gamma,
            "ss_noise_offset": self.noise_offset,
            # kohya counts from the end: 1, or none, is the last layer.
            "ss_clip_skip": self.clip_skip + 1 if self.clip_skip else None,
            "ss_caption_dropout_rate": self.caption_dropout,
            "ss_shuffle_caption": self.shuffle_tags,
            "ss_keep_tokens": self.keep_tags,
            "ss_flip_aug": self.mirror,
            "ss_prior_loss_weight": self.prior_weight,
            "ss_max_grad_norm": self.max_grad_norm,
        }
        return {name: str(value) for name, value in fields.items()}

    def _modelspec(self) -> dict[str, str]:
        fields = {
            "sai_model_spec": "1.0.0",
            "architecture": self.architecture,
            "implementation": "diffusers",
            "title": self.title,
            "resolution": f"{self.width_px}x{self.height_px}",
            "trigger_phrase": self.trigger,
        }
        told = {"description": self.description, "tags": self.tags, "author": self.author,
                "license": self.licence}  # fmt: skip
        fields |= {name: text for name, text in told.items() if text}
        if self.prediction_type in _PREDICTIONS:  # flow matching has no word there
            fields["prediction_type"] = _PREDICTIONS[self.prediction_type]
        if self.date is not None:
            fields["date"] = self.date
        return {f"modelspec.{name}": value for name, value in fields.items()}

    def _own(self) -> dict[str, str]:
        return {
            "loraloom.version": loraloom.__version__,
            "loraloom.trigger": self.trigger,
            "loraloom.dataset_hash": self.dataset_hash,
            "loraloom.recipe": json.dumps(self.recipe, sort_keys=True, ensure_ascii=False),
        }


def _network(kind: AdapterType) -> dict[str, object]:
    """What made such an adapter, in the words of kohya and LyCORIS."""
    if kind == "lora":
        return {"ss_network_module": "networks.lora"}
    if kind in ("oft", "boft"):
        return {"ss_network_module": "peft", "ss_network_args": json.dumps({"algo": kind})}
    args = {"algo": "lora", "dora_wd": "True"} if kind == "dora" else {"algo": kind}
    return {"ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps(args)}


_OF_BASE = ("ss_sd_model_name", "ss_base_model_version", "ss_v2", "ss_resolution", "ss_clip_skip",
            "loraloom.trigger")  # fmt: skip
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def of_copy(metadata: Mapping[str, str], rank: int, made: Mapping[str, object]) -> dict[str, str]:
    """What a LoRA made out of other adapters says: what they said of the base, and how it came.

    `made` goes into `loraloom.made`; training settings that no longer hold are left out.
    """
    kept = {
        name: value
        for name, value in metadata.items()
        if name.startswith("modelspec.") or name in _OF_BASE
    }
    own = {"ss_network_module": "networks.lora", "ss_network_dim": str(rank),
           "ss_network_alpha": str(float(rank))}  # fmt: skip
    return {**kept, **own, "loraloom.made": json.dumps(made, sort_keys=True, ensure_ascii=False)}


def tag_frequency(captions: Sequence[str]) -> dict[str, int]:
    """How often each comma-separated tag occurs, the most frequent first."""
    tags = Counter(tag.strip() for caption in captions for tag in caption.split(","))
    return {tag: n for tag, n in sorted(tags.items(), key=lambda t: (-t[1], t[0])) if tag}


def bucket_info(buckets: Mapping[tuple[int, int], int]) -> dict[str, object]:
    """kohya's table of buckets: number -> resolution and count of images."""
    table = {
        str(i): {"resolution": list(size), "count": buckets[size]}
        for i, size in enumerate(sorted(buckets))
    }
    return {"buckets": table}
