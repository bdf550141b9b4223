import json

import pytest

from loraloom.adapters.metadata import AdapterMetadata


def facts(**changes: object) -> AdapterMetadata:
    fields: dict[str, object] = {
        "title": "mia",
        "base_name": "starter",
        "base_version": "sd_v1",
        "architecture": "stable-diffusion-v1/lora",
        "prediction_type": "v_prediction",
        "trigger": "ohwx woman",
        "rank": 16,
        "alpha": 8.0,
        "width_px": 512,
        "height_px": 512,
        "steps": 600,
        "step": 450,
        "seed": 7,
        "batch_size": 4,
        "accumulation": 3,
        "precision": "bfloat16",
        "learning_rate": 1e-4,
        "text_encoder_learning_rate": None,
        "optimiser": "adamw",
        "schedule": "cosine",
        "warmup_steps": 10,
        "captions": ["ohwx woman, smiling", "ohwx woman, a red hat"],
        "buckets": {(512, 512): 1, (448, 576): 1},
        "regularisation_images": 100,
        "dataset_hash": "abc",
        "recipe": {"adapter": {"rank": 16}, "名": "é"},
    }
    return AdapterMetadata(**(fields | changes))  # type: ignore[arg-type]


def test_all_values_are_text_and_kohyas_tables_parse() -> None:
    strings = facts().to_strings()
    assert all(isinstance(value, str) for value in strings.values())
    assert strings["ss_network_module"] == "networks.lora"
    assert strings["ss_network_dim"] == "16"
    assert strings["ss_network_alpha"] == "8.0"
    assert strings["ss_resolution"] == "(512, 512)"
    assert strings["ss_mixed_precision"] == "bf16"
    assert strings["ss_text_encoder_lr"] == "None"
    tags = json.loads(strings["ss_tag_frequency"])["mia"]
    assert tags == {"ohwx woman": 2, "a red hat": 1, "smiling": 1}
    buckets = json.loads(strings["ss_bucket_info"])["buckets"]
    assert buckets["0"] == {"resolution": [448, 576], "count": 1}


def test_modelspec_and_our_own() -> None:
    strings = facts().to_strings()
    assert strings["modelspec.sai_model_spec"] == "1.0.0"
    assert strings["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert strings["modelspec.prediction_type"] == "v"
    assert strings["modelspec.trigger_phrase"] == strings["loraloom.trigger"] == "ohwx woman"
    assert json.loads(strings["loraloom.recipe"]) == {"adapter": {"rank": 16}, "名": "é"}
    assert "modelspec.date" not in strings and "modelspec.author" not in strings
    told = facts(
        description="Of the sea.", tags="blue, sea", author="A", licence="CC0"
    ).to_strings()
    assert [told[f"modelspec.{name}"] for name in ("description", "tags", "author", "license")] == [
        "Of the sea.", "blue, sea", "A", "CC0",
    ]  # fmt: skip
    assert facts(date="2026-01-02").to_strings()["modelspec.date"] == "2026-01-02"
    assert facts(prediction_type="epsilon").to_strings()["modelspec.prediction_type"] == "epsilon"


def test_what_shaped_the_batches_and_the_loss() -> None:
    strings = facts(
        caption_dropout=0.1, shuffle_tags=True, keep_tags=2, mirror=True, prior_weight=0.5,
        max_grad_norm=2.0, dropout=0.2,
    ).to_strings()  # fmt: skip
    wanted = {
        "ss_batch_size_per_device": "4",
        "ss_gradient_accumulation_steps": "3",
        "ss_total_batch_size": "12",
        "ss_caption_dropout_rate": "0.1",
        "ss_shuffle_caption": "True",
        "ss_keep_tokens": "2",
        "ss_flip_aug": "True",
        "ss_prior_loss_weight": "0.5",
        "ss_max_grad_norm": "2.0",
        "ss_network_dropout": "0.2",
    }
    assert wanted.items() <= strings.items()
    assert facts().to_strings()["ss_network_dropout"] == "None"


@pytest.mark.parametrize(("ours", "kohyas"), [(0, "None"), (1, "2"), (2, "3")])
def test_clip_skip_is_counted_as_kohya_does(ours: int, kohyas: str) -> None:
    """sd-scripts takes hidden_states[-clip_skip]: 2 is the last layer but one."""
    assert facts(clip_skip=ours).to_strings()["ss_clip_skip"] == kohyas
