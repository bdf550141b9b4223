from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests import tiny_families

from loraloom import families, settings
from loraloom.errors import BaseUnknown, ConfigInvalid
from loraloom.families import latents
from loraloom.families.base import Condition
from loraloom.train.recipe import fill

FAMILY = families.get("sd15")


def test_infos_need_no_torch() -> None:
    code = (
        "import sys; from loraloom import families; print([i.id for i in families.all_infos()]);"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "'sd15'" in done.stdout and done.stderr == ""


def test_detect_and_profile(base: Path) -> None:
    assert families.detect(base) is FAMILY
    profile = FAMILY.profile(base)
    assert (profile.native_px, profile.size_multiple_px, profile.title) == (32, 16, "Tiny")


def test_unknown_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path))
    with pytest.raises(BaseUnknown, match=r"Did you mean 'starter'"):
        families.detect("startr")
    with pytest.raises(BaseUnknown, match=r"no model_index.json"):
        families.detect(tmp_path)
    folder = tmp_path / "bases" / "other"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "OtherPipeline"}))
    assert settings.resolve_base("other") == folder
    with pytest.raises(BaseUnknown, match=r"OtherPipeline, which no family covers"):
        families.detect("other")
    (folder / "model_index.json").write_text("{")
    with pytest.raises(BaseUnknown, match=r"cannot be read"):
        families.detect("other")
    with pytest.raises(BaseUnknown, match=r"Known: .*sd15"):
        families.get("sd99")


def test_broken_weights_are_one_sentence(base: Path, tmp_path: Path) -> None:
    for name in ("unet", "scheduler"):
        (tmp_path / name).mkdir()
    shutil.copy(base / "model_index.json", tmp_path)
    with pytest.raises(BaseUnknown, match=r"cannot be loaded"):
        FAMILY.load(tmp_path, only=("denoiser",))
    (tmp_path / "scheduler/scheduler_config.json").write_text('{"_class_name": "Popen"}')
    with pytest.raises(BaseUnknown, match=r"names no scheduler"):
        FAMILY.load(tmp_path, only=("scheduler",))


def test_a_missing_part_is_named(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "vae")
    with pytest.raises(BaseUnknown, match=r"no folder 'vae'.*Download it again"):
        FAMILY.load(tmp_path)
    with pytest.raises(BaseUnknown, match=r"no folder 'vae'"):
        FAMILY.fingerprint(tmp_path, "vae")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_cut_short_are_one_sentence(base: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    (path,) = (tmp_path / part).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BaseUnknown, match=r"cannot be loaded"):
        FAMILY.load(tmp_path)


def test_bases_that_only_look_alike_are_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "unet/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 9}))
    with pytest.raises(
        BaseUnknown, match=r"takes 9 channels, and with its VAE it should take 4: .*inpainting"
    ):
        families.detect(tmp_path)


def _index(family: str, folder: Path, **facts: object) -> Path:
    """A base of which nothing is known but its classes."""
    info = families.get(family).info
    index: dict[str, object] = {"_class_name": info.pipeline}
    for part in info.parts.values():
        if part.classes:
            library, _, name = part.classes[0].rpartition(".")
            index[part.folder] = [library, name]
    (folder / "model_index.json").write_text(json.dumps(index | facts))
    return folder


@pytest.mark.parametrize(
    ("family", "other"),
    [("flux", "flux2"), ("flux2", "flux2_klein"), ("flux", "flux2_klein"),
     ("hunyuan_video", "hunyuan_video15")],
)  # fmt: skip
def test_versions_are_not_taken_for_each_other(family: str, other: str, tmp_path: Path) -> None:
    for own, foreign in ((family, other), (other, family)):
        base = _index(own, tmp_path)
        assert families.detect(base) is families.get(own)
        index = json.loads((base / "model_index.json").read_text())
        assert not families.get(foreign).matches(base, index)
        if own != "flux2" and foreign != "flux2":  # klein has FLUX.2's denoiser
            continue
        theirs = families.get(foreign).info.parts["text_encoder"].classes[0].split(".")
        with pytest.raises(BaseUnknown, match="no family covers"):
            families.detect(_index(own, tmp_path, text_encoder=theirs))


@pytest.mark.parametrize(
    ("family", "pipeline", "work"),
    [
        ("flux", "FluxKontextPipeline", "edits a picture"),
        ("qwen_image", "QwenImageEditPipeline", "edits a picture"),
        ("qwen_image", "QwenImageEditPlusPipeline", "edits a picture"),
        ("qwen_image", "QwenImageLayeredPipeline", "takes a picture apart"),
        ("hunyuan_video15", "HunyuanVideo15ImageToVideoPipeline", "lets a picture move"),
    ],
)
def test_models_of_the_same_classes_for_other_work_are_refused(
    family: str, pipeline: str, work: str, tmp_path: Path
) -> None:
    base = _index(family, tmp_path, _class_name=pipeline)
    with pytest.raises(BaseUnknown, match=rf"is a model for {pipeline}, which {work} that it is"):
        families.detect(base)


def test_kinds_of_klein_are_known_by_what_their_files_say(tmp_path: Path) -> None:
    klein = families.get("flux2_klein")
    (tmp_path / "transformer").mkdir()
    found = []
    for heads, distilled in ((24, False), (24, True), (32, False), (32, True)):
        _index("flux2_klein", tmp_path, is_distilled=distilled)
        config = tmp_path / "transformer/config.json"
        config.write_text(json.dumps({"num_attention_heads": heads}))
        profile = klein.profile(tmp_path)
        plan = fill({"data": {"folder": "p"}}, klein.info, profile, 20)
        found.append((profile.family, profile.licence, plan.samples.steps))
    gated = "FLUX Non-Commercial License"
    assert found == [
        ("FLUX.2 klein 4B base", "Apache-2.0", 28), ("FLUX.2 klein 4B", "Apache-2.0", 4),
        ("FLUX.2 klein 9B base", gated, 28), ("FLUX.2 klein 9B", gated, 4),
    ]  # fmt: skip


def test_sizes_of_hunyuan_video_15_are_known_by_what_their_files_say(tmp_path: Path) -> None:
    hunyuan = families.get("hunyuan_video15")
    for folder in ("transformer", "guider"):
        (tmp_path / folder).mkdir()
    _index("hunyuan_video15", tmp_path)
    found = []
    for side, guidance in ((640, 6.0), (960, 6.0), (640, 1.0)):
        (tmp_path / "transformer/config.json").write_text(json.dumps({"target_size": side}))
        guider = tmp_path / "guider/guider_config.json"
        guider.write_text(json.dumps({"guidance_scale": guidance}))
        profile = hunyuan.profile(tmp_path)
        plan = fill({"data": {"folder": "p"}}, hunyuan.info, profile, 20)
        found.append((profile.native_px, plan.samples.guidance, plan.samples.steps))
    assert found == [(640, 6.0, 30), (960, 6.0, 30), (640, 1.0, 50)]


@pytest.mark.parametrize("family", ["hunyuan_video", "hunyuan_video15"])
def test_only_large_clips_go_through_in_tiles(family: str, tmp_path: Path) -> None:
    vae = families.get(family).load(tiny_families.save(family, tmp_path), only=["vae"]).vae
    for pixels, tiled in ((2**22, False), (2**22 + 1, True), (1, False)):
        latents.spare_memory(vae, pixels)
        assert (vae.use_tiling, vae.use_slicing) == (tiled, True)


def test_a_class_that_the_family_does_not_name_is_never_loaded(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["vae"] = ["os", "system"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BaseUnknown, match=r"AutoencoderKL is expected"):
        FAMILY.load(tmp_path, only=("vae",))
    with pytest.raises(BaseUnknown, match=r"no family covers"):
        families.detect(tmp_path)


def test_weights_in_half_precision_alone_are_found(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*/*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    whole, half = FAMILY.load(base), FAMILY.load(tmp_path)
    for name in ("denoiser", "text_encoder", "vae"):
        ours, theirs = (getattr(parts, name).state_dict() for parts in (whole, half))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_caption_of_one_chunk_equals_the_pipeline(base: Path) -> None:
    parts = FAMILY.load(base)
    pipe = FAMILY.pipeline(parts)
    with torch.no_grad():
        own = FAMILY.encode_text(parts, ["zk, a hat"])[0]
        wanted, _ = pipe.encode_prompt("zk, a hat", "cpu", 1, False)
    torch.testing.assert_close(own.tensors["context"], wanted[0])


def test_clip_skip_leaves_out_last_layers(base: Path) -> None:
    parts = FAMILY.load(base, only=("text_encoder", "tokenizer"))
    with torch.no_grad():
        own = FAMILY.encode_text(parts, ["zk, a hat"], clip_skip=1)[0]
        del parts.text_encoder.encoder.layers[-1]
        wanted = FAMILY.encode_text(parts, ["zk, a hat"])[0]
    torch.testing.assert_close(own.tensors["context"], wanted.tensors["context"])


def test_prompts_of_one_chunk_equal_the_pipeline(base: Path) -> None:
    parts = FAMILY.load(base)
    pipe = FAMILY.pipeline(parts)
    prompts, negatives = ["zk, a hat", "a cup"], ["bad", ""]
    with torch.no_grad():
        own = FAMILY.prompt_embeds(parts, prompts, negatives)
        wanted = pipe.encode_prompt(prompts, "cpu", 1, True, negatives)
    torch.testing.assert_close(own["prompt_embeds"], wanted[0])
    torch.testing.assert_close(own["negative_prompt_embeds"], wanted[1])


def test_prompts_of_many_chunks_are_as_in_training(base: Path) -> None:
    parts = FAMILY.load(base, only=("text_encoder", "tokenizer"))
    long = "ab " * 60
    with torch.no_grad():
        own = FAMILY.prompt_embeds(parts, [long], ["bad"], clip_skip=1)
        texts = FAMILY.encode_text(parts, [long, "bad", ""], clip_skip=1)
    trained, bad, empty = (condition.tensors["context"] for condition in texts)
    torch.testing.assert_close(own["prompt_embeds"][0], trained)
    torch.testing.assert_close(own["negative_prompt_embeds"][0], torch.cat([bad, empty]))


def test_more_layers_than_there_are_cannot_be_left_out(base: Path) -> None:
    parts = FAMILY.load(base, only=("text_encoder", "tokenizer"))
    with pytest.raises(ConfigInvalid, match=r"clip_skip = 3 is not possible.* 2 layers"):
        FAMILY.encode_text(parts, ["a"], clip_skip=3)


def test_long_captions_take_more_chunks(base: Path) -> None:
    parts = FAMILY.load(base, only=("text_encoder", "tokenizer"))
    with torch.no_grad():
        short, long, empty = FAMILY.encode_text(parts, ["a", "ab " * 60, ""])
        alone = FAMILY.encode_text(parts, ["ab " * 37 + "a"])[0]
    assert [len(c.tensors["context"]) for c in (short, long, empty)] == [77, 154, 77]
    # CLIP is causal: start and 74 shared tokens, then "a" differs within and at the end of a word.
    torch.testing.assert_close(long.tensors["context"][:75], alone.tensors["context"][:75])


def test_batching_changes_no_prediction(base: Path) -> None:
    parts = FAMILY.load(base)
    with torch.no_grad():
        conditions = FAMILY.encode_text(parts, ["a", "ab " * 60])
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        t = torch.tensor([0.1, 0.7])
        together = FAMILY.predict(parts.denoiser, x, t, FAMILY.collate(conditions))
        apart = [
            FAMILY.predict(parts.denoiser, x[i : i + 1], t[i : i + 1], FAMILY.collate([c]))
            for i, c in enumerate(conditions)
        ]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=1e-4)


def test_collate_masks_only_where_lengths_differ() -> None:
    one, two = (Condition({"context": torch.ones(n, 2)}) for n in (2, 3))
    assert "mask" not in FAMILY.collate([one, one])
    assert FAMILY.collate([one, two])["mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_t_maps_to_every_timestep() -> None:
    seen: list[torch.Tensor] = []

    def denoiser(x: torch.Tensor, t: torch.Tensor, **_: object) -> tuple[torch.Tensor]:
        seen.append(t)
        return (x,)

    for length in (1000, 50):
        t = torch.arange(length) / (length - 1)
        condition = {"context": torch.zeros(1)}
        FAMILY.predict(denoiser, torch.zeros(length, 1), t, condition, timesteps=length)
        assert torch.equal(seen.pop(), torch.arange(length))


def test_latents_are_scaled_and_come_back(base: Path) -> None:
    vae = FAMILY.load(base, only=("vae",)).vae
    form = FAMILY.latent_format(vae)
    assert (form.channels, form.factor, form.scale, form.shift) == (4, 4, (0.5,), (0.0,))
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        mean, std = FAMILY.encode_image(vae, pixels)
        posterior = vae.encode(pixels).latent_dist
        torch.testing.assert_close(mean, posterior.mean * 0.5)
        torch.testing.assert_close(std, posterior.std * 0.5)
        assert FAMILY.decode(vae, mean).shape == pixels.shape


def test_variants_are_known_by_name_and_change_what_is_said(tmp_path: Path) -> None:
    sdxl = families.get("sdxl")
    for name in ("ponyDiffusionV6XL", "my-base"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_index.json").write_text("{}")
    pony, plain = (sdxl.profile(tmp_path / name) for name in ("ponyDiffusionV6XL", "my-base"))
    assert (pony.family, pony.prompt_style) == ("Pony Diffusion", "tags")
    assert (plain.family, plain.prompt_style) == (sdxl.info.title, "hybrid")
    assert pony.licence != plain.licence
    least = [
        fill({"data": {"folder": "p"}}, sdxl.info, profile, 1).schedule.steps
        for profile in (plain, pony)
    ]
    assert least == [1500, 2000]


def test_a_base_can_name_its_variant(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "loraloom.toml").write_text('variant = "noobai"\nnative_px = 512\n')
    profile = families.get("sdxl").profile(tmp_path)
    assert (profile.family, profile.native_px) == ("NoobAI XL", 512)
    (tmp_path / "loraloom.toml").write_text('variant = "noob"\n')
    with pytest.raises(BaseUnknown, match=r"no variant 'noob'. There are: pony, illustrious"):
        families.get("sdxl").profile(tmp_path)


def test_flux_without_guidance_is_schnell(tmp_path: Path) -> None:
    dev, schnell = (tiny_families.save(name, tmp_path / name) for name in ("flux", "flux_schnell"))
    flux = families.get("flux")
    assert families.detect(schnell) is flux
    assert flux.profile(dev).architecture == "flux-1-dev/lora"
    profile = flux.profile(schnell)
    assert (profile.licence, profile.architecture) == ("Apache-2.0", "flux-1-schnell/lora")
    config = fill({"data": {"folder": "p"}}, flux.info, profile, 20)
    assert (config.objective.shift, config.samples.guidance, config.samples.steps) == (1.0, 0.0, 4)


def test_version_2_of_512_px_predicts_epsilon(tmp_path: Path) -> None:
    base = tiny_families.save("sd21", tmp_path)
    sd21 = families.get("sd21")
    assert sd21.profile(base).architecture == "stable-diffusion-v2-768-v/lora"
    path = base / "scheduler/scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "epsilon"}))
    assert sd21.profile(base).architecture == "stable-diffusion-v2-512/lora"
