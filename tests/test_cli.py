"""The command line: what a person sees, and what a program reads."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from loraloom import cli
from loraloom.cli import generate as generate_command
from loraloom.cli.generate import parse_adapter, parse_expert, parse_size
from loraloom.errors import AdapterUnreadable, LoraloomError, OutputExists
from loraloom.generate.session import Request
from loraloom.train import events

MODEL_INDEX = json.dumps(
    {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def shell(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from loraloom.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=400)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "cups"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64), (number * 60, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a cup on a table")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """As much of a base model as a command sees that fails before it loads one."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model_index.json").write_text(MODEL_INDEX)
    return folder


@pytest.mark.parametrize("command", ["train", "plan", "generate", "bases", "demo",
                                     "adapter inspect", "adapter convert", "adapter merge",
                                     "adapter resize", "adapter extract",
                                     "adapter check"])  # fmt: skip
def test_help_shows_an_example_on_its_own_line(command: str) -> None:
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    assert any(line.strip().startswith(f"loraloom {command}") for line in result.output.split("\n"))


def test_usage_error_is_status_2() -> None:
    assert invoke("train").exit_code == 2
    assert invoke("train", "x", "--kind", "nonsense").exit_code == 2
    assert invoke("generate", "--prompt", "x", "--size", "big").exit_code == 2


Failing = Callable[..., str]


class TestErrors:
    """One clear sentence on standard error, status 1, nothing written, no traceback."""

    @pytest.fixture
    def failing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Failing:
        """Runs a command here and gives what it said."""

        def run(*arguments: object) -> str:
            before = sorted(tmp_path.rglob("*"))
            with pytest.raises(SystemExit) as exit_info:
                cli.main([str(argument) for argument in arguments])
            said = capsys.readouterr()
            assert (exit_info.value.code, said.out) == (1, "")
            assert said.err.startswith("error: ") and said.err.endswith("\n")
            assert sorted(tmp_path.rglob("*")) == before
            return said.err

        return run

    def test_missing_folder(self, tmp_path: Path) -> None:
        """In a process of its own, as all of them are for a user."""
        result = shell("train", tmp_path / "nowhere")
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("error: ") and "does not exist" in result.stderr
        assert "Traceback" not in result.stderr

    def test_empty_folder(self, failing: Failing, base: Path, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        arguments = ("train", empty, "--base", base, "--out", tmp_path / "run")
        assert "holds no picture" in failing(*arguments)

    def test_all_dataset_problems(self, failing: Failing, base: Path, pictures: Path) -> None:
        (pictures / "1.txt").unlink()
        (pictures / "2.png").write_bytes(b"broken")
        arguments = ("train", pictures, "--base", base, "--out", pictures.parent / "run")
        message = failing(*arguments)
        assert "1.png: has no caption" in message
        assert "2.png: is not a picture" in message

    def test_misspelt_setting(self, failing: Failing, pictures: Path) -> None:
        message = failing("train", pictures, "--set", "adapter.rnak=8")
        assert "adapter.rnak" in message
        assert "adapter.rank" in message

    def test_unknown_base(self, failing: Failing, pictures: Path) -> None:
        assert "startr" in failing("train", pictures, "--base", "startr")

    def test_broken_adapter(self, failing: Failing, tmp_path: Path) -> None:
        (tmp_path / "x.safetensors").write_bytes(b"nothing")
        message = failing("adapter", "inspect", tmp_path / "x.safetensors")
        assert "x.safetensors" in message

    def test_missing_adapter(self, failing: Failing, tmp_path: Path) -> None:
        arguments = ("generate", "--prompt", "a cup", "--adapter", tmp_path / "no.safetensors:0.5")
        assert "no.safetensors does not exist" in failing(*arguments)

    def test_empty_prompt(self, failing: Failing) -> None:
        assert "--prompt is empty" in failing("generate", "--prompt", " ")

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            (["data=x"], "data = 'x' is not possible"),
            (["data.folder=2024"], "data.folder = 2024 is not possible"),
            (["schedule=5"], "schedule = 5 is not possible"),
            (["adapter.targets=atention"], "did you mean attention?"),
        ],
    )
    def test_settings_of_a_wrong_kind(
        self, failing: Failing, settings: list[str], said: str, pictures: Path
    ) -> None:
        chosen = [word for setting in settings for word in ("--set", setting)]
        message = failing("train", pictures, *chosen)
        assert said in message and message.count("\n") == 1

    def test_a_value_for_a_table_in_a_file(self, failing: Failing, tmp_path: Path) -> None:
        (tmp_path / "s.toml").write_text('data = "pictures"')
        assert "data = 'pictures' is not possible" in failing("train", tmp_path / "s.toml")

    def test_a_base_without_a_part(
        self, failing: Failing, base: Path, pictures: Path, tmp_path: Path
    ) -> None:
        arguments = ("train", pictures, "--base", base, "--out", tmp_path / "run")
        assert "no folder 'unet'" in failing(*arguments)
        assert "no folder " in failing("generate", "--prompt", "a cup", "--base", base)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
def test_a_seed_out_of_range_is_wrong_usage(seed: int) -> None:
    result = invoke("generate", "--prompt", "a cup", "--seed", seed)
    assert result.exit_code == 2 and "--seed" in result.stderr


STARTED = events.Started(
    steps=2, first_step=1, items=4, held_out=1, prior_images=0, trainable=1234,
    precision="float32", device="cpu", effective_learning_rate=1e-3,
)  # fmt: skip
HAPPENINGS: list[events.Event] = [
    events.Stage("latents", 4, 4),
    STARTED,
    events.Step(1, 0.5, 1e-3, 0.1),
    events.Planned(1536, 4096, 0.2),
    events.Diagnosed(1, "loss_flat", "the loss [really] does not fall"),
    events.Warned("the set is small [really]"),
    events.Validated(1, 0.4, 0.6, 0.2),
    events.Validated(1, 0.4, None, None),
    events.Sampled(1, (Path("a.png"),)),
    events.Saved(1, Path("checkpoint")),
    events.Step(2, 0.4, 1e-3, 0.1),
    events.Finished(2, 2, Path("out/adapter.safetensors"), 3.0, 1700),
]


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A trainer that does nothing but tell; `ending` is raised after the first step."""
    seen: dict[str, object] = {"ending": None}

    def run(
        config: object, out: Path, *, resume: bool = False, stop: object = None
    ) -> Iterator[events.Event]:
        seen.update(config=config, out=out, resume=resume)
        ending = seen["ending"]
        yield from HAPPENINGS if ending is None else HAPPENINGS[:3]
        if isinstance(ending, BaseException):
            raise ending

    monkeypatch.setattr("loraloom.train.run", run)
    monkeypatch.setattr("loraloom.cli.train.complete", lambda *given: given)
    return seen


def test_train_shows_what_happens(trainer: dict[str, object], pictures: Path) -> None:
    result = invoke("train", pictures, "--kind", "object", "--trigger", "ohwx", "--set", "seed=3")
    assert result.exit_code == 0, result.stderr
    assert trainer["config"] == (
        {"data": {"folder": str(pictures)}},
        {"kind": "object", "trigger": "ohwx"},
        ["seed=3"],
        "standard",
    )
    assert (trainer["out"], trainer["resume"]) == (Path("out/cups"), False)
    for text in ("4 pictures", "held-out 0.6", "[really]", "out/adapter.safetensors",
                 "(learning rate x alpha / rank): 0.001", "gap +0.2000", "1.5 of 4.0 GiB",
                 "held at most: 1.7 GiB; expected were 1.5 GiB",
                 "under a minute", "step 1: the loss [really] does not fall"):  # fmt: skip
        assert text in result.stderr
    assert result.stdout == ""


def test_train_json_is_one_line_an_event(trainer: dict[str, object], pictures: Path) -> None:
    result = invoke("train", pictures, "--json", "--resume", "--out", "there")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["event"] for line in lines] == [
        type(event).__name__.lower() for event in HAPPENINGS
    ]
    assert (trainer["out"], trainer["resume"]) == (Path("there"), True)


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), "a clean stop"])
def test_a_stopped_run_says_how_to_go_on(
    ending: object,
    trainer: dict[str, object],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer["ending"] = ending
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["loraloom", "train", "cups"])
    result = invoke("train", pictures, "--out", "my cups")
    assert result.exit_code == 130
    assert "To go on: loraloom train cups" in result.stderr  # nothing was written yet
    (tmp_path / "my cups").mkdir()
    (tmp_path / "my cups" / "run.json").touch()
    result = invoke("train", pictures, "--out", "my cups")
    assert "To go on: loraloom train 'my cups' --resume" in result.stderr


def test_an_error_in_training_reaches_main(
    trainer: dict[str, object], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer["ending"] = LoraloomError("The disk is full.")
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["train", str(pictures)])
    assert exit_info.value.code == 1
    assert "error: The disk is full." in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"PK")
    cases = (([], 1, "no safetensors file"), (["--name", "../x"], 1, "letters"))
    for extra, code, message in cases:
        with pytest.raises(SystemExit) as exit_info:
            cli.main(["bases", "add", str(file), *extra])
        assert exit_info.value.code == code and message in capsys.readouterr().err
    assert not list((tmp_path / "home").glob("bases/[!.]*"))


def test_bases_as_json() -> None:
    result = invoke("bases", "--json")
    for found in json.loads(result.stdout):
        told = {"name", "title", "family", "licence", "native_px", "folder", "prompts", "moves"}
        assert told <= found.keys()
        assert found["name"] in invoke("bases").stdout


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A small adapter in kohya's layout, with alpha 2 at rank 4."""
    import torch

    from loraloom.adapters.file import write
    from loraloom.adapters.state import LoraWeights

    module = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    weights = LoraWeights(torch.rand(4, 8), torch.rand(8, 4), 2.0)
    path = tmp_path / "mine.safetensors"
    write(path, {"unet": {module: weights}}, "kohya", {"loraloom.trigger": "ohwx"})
    return path


def test_inspect(adapter: Path) -> None:
    found = json.loads(invoke("adapter", "inspect", adapter, "--json").stdout)
    assert (found["layout"], found["rank"], found["alpha"]) == ("kohya", 4, 2.0)
    assert (found["modules"], found["trigger"]) == ({"unet": 1}, "ohwx")
    assert found["size_bytes"] == adapter.stat().st_size
    shown = invoke("adapter", "inspect", adapter).stdout
    assert "kohya" in shown
    assert "ohwx" in shown


def test_convert_there_and_back(adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    assert invoke("adapter", "convert", adapter, "--to", "diffusers", "--out", there).exit_code == 0
    assert invoke("adapter", "convert", there, "--to", "kohya", "--out", back).exit_code == 0
    before, after = load_file(adapter), load_file(back)
    assert before.keys() == after.keys()
    assert all(bool((before[key] == after[key]).all()) for key in before)
    taken = invoke("adapter", "convert", adapter, "--to", "kohya", "--out", back)
    assert isinstance(taken.exception, OutputExists)


class FakeGenerator:
    def complete(self, request: Request) -> Request:
        return replace(request, guidance=5.0, steps=20)

    def film(
        self, requests: list[Request], batch_size: int, on_step: Callable[[int], None]
    ) -> list[list[Image.Image]]:
        assert {request.clip_skip for request in requests} == {2}
        on_step(len(requests))
        return [[Image.new("RGB", (8, 8))] for _ in requests]


def test_generate_writes_numbered_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def open_generator(*given: object) -> tuple[FakeGenerator, list[object]]:
        opened.append(given)
        return FakeGenerator(), []

    monkeypatch.setattr(generate_command, "_open_generator", open_generator)
    adapter = tmp_path / "a.safetensors"
    adapter.write_bytes(b"")
    out = tmp_path / "out"
    arguments = ("generate", "--prompt", "a cup", "--prompt", "a 杯", "--count", 5, "--seed", 7,
                 "--adapter", f"{adapter}:0.5", "--out", out, "--json",
                 "--clip-skip", 2)  # fmt: skip
    first, second = invoke(*arguments), invoke(*arguments)
    assert first.exit_code == 0, first.stderr
    assert opened[0] == ("starter", [generate_command.Adapter(adapter, 0.5)], "float32")
    lines = [json.loads(line) for line in (first.stdout + second.stdout).splitlines()]
    assert len({line["path"] for line in lines}) == len(list(out.iterdir())) == 20
    assert [line["seed"] for line in lines[:10]] == [7, 8, 9, 10, 11] * 2
    text = Image.open(lines[9]["path"]).text
    assert (text["prompt"], text["clip_skip"]) == ("a 杯", "2")


def test_adapter_and_scale(tmp_path: Path) -> None:
    plain, odd = tmp_path / "a.safetensors", tmp_path / "b:c"
    plain.touch()
    odd.touch()
    assert parse_adapter(str(plain)) == (plain, 1.0)
    assert parse_adapter(f"{plain}:-0.5") == (plain, -0.5)
    assert parse_adapter(str(odd)) == (odd, 1.0)
    for scale in ("nan", "inf", "99"):
        with pytest.raises(typer.BadParameter, match="scale"):
            parse_adapter(f"{plain}:{scale}")
    with pytest.raises(AdapterUnreadable):
        parse_adapter("nowhere")


def test_adapter_and_expert(tmp_path: Path) -> None:
    plain, odd = tmp_path / "a.safetensors", tmp_path / "me@home"
    plain.touch()
    odd.touch()
    asked = generate_command.Adapter
    assert parse_expert(f"{plain}@low_noise") == asked(plain, 1.0, "low_noise")
    assert parse_expert(f"{plain}:0.5@high_noise") == asked(plain, 0.5, "high_noise")
    assert parse_expert(str(odd)) == asked(odd)
    assert parse_expert(f"{odd}:2") == asked(odd, 2.0)


def test_size() -> None:
    assert parse_size(None) == (None, None)
    assert parse_size("512") == (512, 512)
    assert parse_size("512x768") == (512, 768)
    for text in ("x", "1x1", "99999", "512x512x3"):
        with pytest.raises(typer.BadParameter):
            parse_size(text)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The arguments of a real, tiny run of so many steps that it does not end by itself."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("tiny")
    base = tiny.save_base(folder / "base")
    pictures = tiny.save_pictures(folder / "pictures")
    settings = ("prior.images=0", "data.resolution_px=64", "adapter.rank=2", "batch_size=1",
                "validation.every_steps=0",
                "samples.steps=2", "samples.prompts=[\"zk person\"]")  # fmt: skip
    chosen = [word for setting in settings for word in ("--set", setting)]
    return ["train", pictures, "--base", base, "--trigger", "zk person", *chosen]


@pytest.mark.slow
def test_train_generate_for_real(
    tiny_run: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = [*tiny_run, "--set", "schedule.steps=2", "--json", "--out", out]
    run = shell(*arguments)
    assert run.returncode == 0, run.stderr
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert told[-1]["event"] == "finished"
    with pytest.raises(SystemExit):
        cli.main([*map(str, arguments)])
    assert "finished run" in capsys.readouterr().err
    base = tiny_run[tiny_run.index("--base") + 1]
    with pytest.raises(SystemExit) as ended:
        cli.main(["generate", "--base", str(base), "--adapter", f"{told[-1]['adapter']}:0.5",
                  "--prompt", "zk person", "--steps", "2", "--out", str(tmp_path / "drawn"),
                  "--json"])  # fmt: skip
    assert not ended.value.code
    assert Image.open(json.loads(capsys.readouterr().out)["path"]).format == "PNG"


@pytest.mark.slow
def test_ctrl_c_saves_and_the_run_goes_on(tiny_run: list[object], tmp_path: Path) -> None:
    words = [*map(str, tiny_run), "--json", "--out", str(tmp_path / "run")]
    words += ["--set", "schedule.steps=1000"]
    program = [sys.executable, "-c", "from loraloom.cli import main; main()"]
    with subprocess.Popen(
        [*program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        for line in process.stdout:
            if '"step": 3' in line:
                process.send_signal(signal.SIGINT)
                break
        rest, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Stopping after this step" in stderr
    assert "To go on: loraloom train" in stderr
    assert "Traceback" not in stderr
    saved = max(json.loads(line)["step"] for line in rest.splitlines() if '"saved"' in line)
    assert 3 <= saved < 1000
    process = subprocess.Popen(
        [*program, "train", str(tmp_path / "run"), "--resume", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout
    started = next(line for line in process.stdout if '"started"' in line)
    process.kill()
    process.communicate()
    assert json.loads(started)["first_step"] == saved + 1
