"""What a run keeps, found by the names in its folder."""

from pathlib import Path

import pytest

from loraloom.studio import run_files


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    for name in (
        "samples/step-000000-0.png", "samples/step-000020-0.png", "samples/step-000020-1.png",
        "samples/step-000100-0.png", "samples/step-1000000-0.png", "samples/step-000100-0.webp",
        "adapters/step-000020.safetensors", "adapters/step-000100.safetensors",
        "adapters/step-000100-ema.safetensors", "adapters/.step-000200.safetensors.tmp",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("until", "drawn"),
    [
        (None, ["1000000-0", "000100-0", "000020-0", "000020-1"]),
        (100, ["000100-0", "000020-0", "000020-1"]),
        (99, ["000020-0", "000020-1"]),
        (5, ["000020-0", "000020-1"]),  # the next one
    ],
)
def test_samples(run_folder: Path, until: int | None, drawn: list[str]) -> None:
    found = [path.stem for path in run_files.samples(run_folder, until)]
    assert found == [f"step-{name}" for name in drawn]


def test_kept_adapters(run_folder: Path) -> None:
    found = run_files.kept_adapters(run_folder)
    assert list(found) == [(20, False), (100, False), (100, True)]
    assert found[100, True].name == "step-000100-ema.safetensors"


def test_a_run_without_folder_keeps_nothing(tmp_path: Path) -> None:
    assert run_files.samples(tmp_path / "none") == []
    assert run_files.kept_adapters(tmp_path / "none") == {}
