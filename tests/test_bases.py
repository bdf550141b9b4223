"""Bases from the hub, from folders elsewhere and from files; and taking them away."""

import errno
import io
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny, tiny_families
from tests.hub_server import Hub, hub_with
from typer.testing import CliRunner

from loraloom import cli, families, hub, settings
from loraloom.bases import adding, fetching, place
from loraloom.bases.adding import Wish
from loraloom.bases.selection import select
from loraloom.dataset.lock import locked
from loraloom.errors import (
    BaseKept,
    BaseNameInvalid,
    BaseUnknown,
    ConfigInvalid,
    DatasetBusy,
    DiskFull,
    HubRefused,
    LoraloomError,
    OutputExists,
)
from loraloom.families.installed import describe, installed

NAME = "someone/tiny-base"
UNWANTED = (
    "single.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.bin", "vae/diffusion_flax_model.msgpack",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json", "README.md",
    "safety_checker/config.json", "safety_checker/model.safetensors", "text_encoder/run.py",
    "unet/deeper/model.safetensors",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and no token."""
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("loraloom.hub._PAUSE_S", 0.01)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder as the hub has many: with much that no base needs."""
    folder = tiny.save_base(tmp_path_factory.mktemp("hub") / "tiny")
    (folder / "loraloom.toml").unlink()
    (folder / "LICENSE.md").write_text("Do no harm.")
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["guider"] = ["diffusers", "ClassifierFreeGuidance"]
    (folder / "model_index.json").write_text(json.dumps(index))
    for name in UNWANTED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not wanted")
    (folder / "guider").mkdir()
    (folder / "guider" / "guider_config.json").write_text("{}")
    return folder


@pytest.fixture
def served(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_with(NAME, repository) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def files_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


class TestFromTheHub:
    def test_what_a_base_needs_is_fetched_and_can_be_loaded(
        self, served: Hub, repository: Path, home: Path
    ) -> None:
        told: list[tuple[int, int]] = []
        got = fetching.fetch(NAME, progress=lambda done, total: told.append((done, total)))
        wanted = files_in(repository) - set(UNWANTED)
        assert files_in(got.folder) == wanted | {"loraloom.toml"}
        assert sorted(served.fetched) == sorted(wanted)
        size = sum((repository / name).stat().st_size for name in wanted)
        assert told[-1] == (size, size)
        assert all(total == size for _, total in told)
        base = describe("tiny-base")
        assert (base.family_id, base.source, base.folder) == ("sd15", NAME, got.folder)
        assert families.detect("tiny-base").load(got.folder).denoiser is not None
        assert [path.name for path in (home / "bases").iterdir() if path.name[0] != "."] == [
            "tiny-base"
        ]
        assert fetching.unfinished() == []

    def test_what_is_under_way_is_no_base_and_is_gone_on_with(
        self, served: Hub, repository: Path
    ) -> None:
        (unet,) = (repository / "unet").glob("*_model.safetensors")
        whole = sum((repository / n).stat().st_size for n in files_in(repository) - set(UNWANTED))

        def stop(done: int, total: int) -> None:
            if done > whole - 1000:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetching.fetch(NAME, "mine", progress=stop)
        assert list(settings.base_folders()) == ["starter"]
        (left,) = fetching.unfinished()
        assert (left.hub_id, left.name, left.total_bytes) == (NAME, "mine", whole)
        assert whole - 1000 < left.there_bytes
        served.sent_bytes = 0
        fetching.fetch(NAME, "mine")
        assert served.sent_bytes < 1000
        assert (
            settings.resolve_base("mine") / "unet" / unet.name
        ).read_bytes() == unet.read_bytes()

    def test_a_connection_that_breaks_is_made_anew_from_there(
        self, served: Hub, tmp_path: Path
    ) -> None:
        found = hub.look(NAME)
        unet = "unet/diffusion_pytorch_model.safetensors"
        file = next(f for f in found.files if f.path == unet)
        served.breaks_after_bytes = 300_000
        hub.fetch(found, file, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == served.files[file.path]
        assert served.sent_bytes == file.size_bytes

    @pytest.mark.parametrize("between", [{"portal": b"<html>Sign in"}, {"ranges_from": 0}])
    def test_what_something_between_answers_spoils_nothing(
        self, served: Hub, tmp_path: Path, between: dict[str, object]
    ) -> None:
        found = hub.look(NAME)
        file = next(f for f in found.files if f.path.startswith("unet/diffusion_pytorch_model.saf"))
        begun = hub.partial_of(tmp_path / "file")
        begun.write_bytes(served.files[file.path][:1000])
        for name, value in between.items():
            setattr(served, name, value)
        with pytest.raises(HubRefused, match=f"answered for {file.path} of {NAME} is not the hub"):
            hub.fetch(found, file, tmp_path / "file")
        assert begun.read_bytes() == served.files[file.path][:1000]
        served.portal = served.ranges_from = None
        hub.fetch(found, file, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == served.files[file.path]

    @pytest.mark.parametrize(
        "answer", [b"<html>Sign in", b"[]", b"{}", b'{"id": 3, "siblings": 4}']
    )
    def test_a_listing_that_is_none(self, served: Hub, answer: bytes) -> None:
        served.portal = answer
        with pytest.raises(HubRefused, match=f"answered for {NAME} is not the hub"):
            hub.look(NAME)

    def test_a_disk_that_is_full_when_the_file_is_closed(
        self, served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = hub.look(NAME)
        written = Path.open

        class Full(io.BytesIO):
            def close(self) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

        def full(path: Path, *given: str, **more: str) -> object:
            return Full() if path.name == "file.part" else written(path, *given, **more)

        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(DiskFull, match=r"file\.part could not be written"):
            hub.fetch(found, found.files[0], tmp_path / "file")

    def test_a_file_that_cannot_be_moved_into_its_place(
        self, served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(begun: Path, target: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        found = hub.look(NAME)
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(DiskFull):
            hub.fetch(found, found.files[0], tmp_path / "file")

    @pytest.mark.parametrize(
        "odd", ["../out.json", "unet/../../out.json", "/tmp/out.json", "unet//a.json", "a\\b.json",
                "c:a.json", "unet/./a.json", "a\0.json"],
    )  # fmt: skip
    def test_a_listing_that_leads_out_of_its_folder(self, served: Hub, odd: str) -> None:
        served.files[odd] = b"{}"
        assert odd not in {file.path for file in hub.look(NAME).files}

    @pytest.mark.parametrize("commit", ["../../x", "", "main", "f" * 39])
    def test_a_commit_that_is_none(self, served: Hub, commit: str) -> None:
        served.commit = commit
        with pytest.raises(HubRefused, match="is not the hub, or a broken one"):
            hub.look(NAME)

    def test_folders_of_an_index_that_lead_elsewhere_are_not_wanted(self, repository: Path) -> None:
        names = files_in(repository) | {"../evil/a.json", "guider/a.json"}
        found = hub.Repository(NAME, "c", tuple(hub.RemoteFile(name, 1) for name in sorted(names)))
        index = json.loads((repository / "model_index.json").read_text()) | {"../evil": ["a", "b"]}
        chosen = {f.path for f in select(found, families.detect(repository).info, index).files}
        assert "guider/a.json" in chosen and "../evil/a.json" not in chosen

    def test_what_was_begun_of_another_state_is_not_mixed_in(self, served: Hub) -> None:
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetching.fetch(NAME, progress=stop)
        served.commit = "f" * 40
        served.files["LICENSE.md"] = b"Do harm."
        got = fetching.fetch(NAME)
        assert (got.folder / "LICENSE.md").read_bytes() == b"Do harm."
        assert f'revision = "{served.commit}"' in (got.folder / "loraloom.toml").read_text()

    def test_weights_of_one_variant_only_are_taken(
        self, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(repository, tmp_path / "half")
        for part in ("unet", "vae", "text_encoder"):
            for path in (tmp_path / "half" / part).glob("*model.safetensors"):
                path.replace(path.with_name(f"{path.stem}.fp16.safetensors"))
        with hub_with("someone/half", tmp_path / "half") as found:
            monkeypatch.setenv("HF_ENDPOINT", found.address)
            name, what = adding.add(Wish(source="someone/half"))
        assert "only fp16 weights" in what
        assert families.detect(name).load(settings.resolve_base(name)).vae is not None

    def test_another_name_keeps_what_the_own_one_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tiny_families.save("sdxl", tmp_path / "sdxl")
        with hub_with("someone/Pony-XL", folder) as found:
            monkeypatch.setenv("HF_ENDPOINT", found.address)
            fetching.fetch("someone/Pony-XL", "horses")
        assert (describe("horses").family, describe("horses").prompts) == (
            "Pony Diffusion", "tags",
        )  # fmt: skip

    @pytest.mark.parametrize("family", ["kolors", "sd3", "wan22", "hunyuan_video15"])
    def test_every_part_of_a_family_is_wanted(self, family: str, tmp_path: Path) -> None:
        folder = tiny_families.save(family, tmp_path / "base")
        found = hub.Repository("a/b", "c", tuple(
            hub.RemoteFile(name, 1) for name in sorted(files_in(folder))
        ))  # fmt: skip
        index = json.loads((folder / "model_index.json").read_text())
        chosen = select(found, families.detect(folder).info, index)
        assert {f.path for f in chosen.files} == files_in(folder) - {"loraloom.toml"}
        assert place.whole_base(folder) == families.detect(folder).info


class TestRefusals:
    def test_an_unknown_pipeline_before_its_weights(self, served: Hub) -> None:
        index = json.loads(served.files["model_index.json"])
        index |= {"_class_name": "OtherPipeline", "unet": ["diffusers", "OtherModel"]}
        served.files["model_index.json"] = json.dumps(index).encode()
        with pytest.raises(BaseUnknown, match=rf"^{NAME} holds OtherPipeline, which no family"):
            fetching.fetch(NAME)
        assert served.fetched == ["model_index.json"]
        assert fetching.unfinished() == []

    def test_a_model_for_inpainting_before_its_weights(self, served: Hub) -> None:
        config = json.loads(served.files["unet/config.json"]) | {"in_channels": 9}
        served.files["unet/config.json"] = json.dumps(config).encode()
        with pytest.raises(BaseUnknown, match=rf"denoiser of {NAME} takes 9 channels"):
            fetching.fetch(NAME)
        assert not any(name.endswith(".safetensors") for name in served.fetched)

    @pytest.mark.parametrize(
        ("lost", "match"),
        [
            ("model_index.json", r"no model_index.json, but single files, such as single\.safe"),
            ("vae/", "has no folder 'vae'"),
            ("vae/diffusion", "has no weights of its vae"),
            ("unet/diffusion_pytorch_model.", "no .safetensors of its unet, only files such as"),
        ],
    )
    def test_what_is_no_whole_base(self, served: Hub, lost: str, match: str) -> None:
        for name in [name for name in served.files if name.startswith(lost)]:
            del served.files[name]
        served.files["unet/other.bin"] = b"pickle"
        with pytest.raises(BaseUnknown, match=match):
            fetching.fetch(NAME)

    def test_a_gated_model_tells_where_to_ask(
        self, served: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served.gated = True
        with pytest.raises(HubRefused, match=rf"gated: accept its licence at {served.address}/"
                           rf"{NAME}, set HF_TOKEN"):  # fmt: skip
            fetching.fetch(NAME)
        assert not list((settings.bases_folder() / ".partial").glob("*/"))
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        assert fetching.fetch(NAME).folder.is_dir()

    def test_what_the_hub_has_not(self, served: Hub) -> None:
        with pytest.raises(HubRefused, match="no repository someone/else on the hub, or it is pri"):
            fetching.fetch("someone/else")
        with pytest.raises(HubRefused, match="no revision 'v9'"):
            fetching.fetch(NAME, revision="v9")

    def test_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(HubRefused, match=f"hub cannot be reached for {NAME}"):
            fetching.fetch(NAME)

    def test_a_disk_that_is_too_small_is_told_before(
        self, served: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage("/")._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(DiskFull, match=r"0\.0 GiB are free at"):
            fetching.fetch(NAME)
        assert not any(name.endswith(".safetensors") for name in served.fetched)

    def test_a_file_that_is_not_what_the_hub_says(self, served: Hub) -> None:
        served.listed_bytes = 5
        with pytest.raises(HubRefused, match="did not arrive as it is on the hub"):
            fetching.fetch(NAME)
        assert list(settings.base_folders()) == ["starter"]

    def test_one_file_at_a_time_by_one_name(self, tmp_path: Path) -> None:
        with (
            locked(settings.bases_folder() / ".partial" / "one.lock", "it"),
            pytest.raises(DatasetBusy, match="one"),
        ):
            adding.add(Wish(source=str(tmp_path / "one.safetensors")))

    def test_one_call_at_a_time(self, served: Hub) -> None:
        lock = settings.bases_folder() / ".partial" / "someone--tiny-base.lock"
        with locked(lock, "it"), pytest.raises(DatasetBusy, match=NAME):
            fetching.fetch(NAME)

    @pytest.mark.parametrize(
        "name", ["../x", ".hidden", "a/b", " x", "x\n", "", "x" * 101, "字" * 70]
    )
    def test_names(self, name: str, base: Path) -> None:
        with pytest.raises(BaseNameInvalid, match="letters"):
            place.free_folder(name)

    def test_taken_names(self, served: Hub, base: Path) -> None:
        place.link(base, "tiny-base")
        for name in ("starter", "tiny-base"):
            with pytest.raises(OutputExists, match=f"a base '{name}' already"):
                fetching.fetch(NAME, name)
        assert served.fetched == []

    @pytest.mark.parametrize(
        ("wish", "match"),
        [
            (Wish(source="a/b/c"), "neither a folder nor a file that can be looked"),
            (Wish(source="~nosuchuser/x"), "neither a folder nor a file that can be looked"),
            (Wish(source="/" + "x" * 300), "neither a folder nor a file that can be looked"),
            (Wish(source="~nosuchuser/a.safetensors"), "is not a file"),
            (Wish(source="x" * 300 + "/a.safetensors"), "is not a file"),
            (Wish(source="a.safetensors", revision="x"), "A revision is for a model of the hub"),
            (Wish(source="a/b", prediction="epsilon"), "for single checkpoint files"),
            (Wish(source="a/b.safetensors"), "is not a file"),
        ],
    )
    def test_wishes_that_do_not_go(self, wish: Wish, match: str) -> None:
        with pytest.raises((BaseUnknown, ConfigInvalid), match=match):
            adding.add(wish)


WRONG = [
    ("sd15", "unet", {"sample_size": math.inf}),
    ("hunyuan_video15", "vae", {"latent_channels": "four"}),
    ("hunyuan_video15", "transformer", {"target_size": None}),
]


class TestFolders:
    @pytest.mark.parametrize(("family", "part", "wrong"), WRONG)
    def test_what_breaks_a_list_of_bases_is_not_taken_in(
        self, family: str, part: str, wrong: dict[str, object], tmp_path: Path, base: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        folder = tmp_path / "odd"
        if family == "sd15":
            shutil.copytree(base, folder)
        else:
            tiny_families.save(family, folder)
        (folder / "loraloom.toml").unlink(missing_ok=True)
        config = json.loads((folder / part / "config.json").read_text()) | wrong
        (folder / part / "config.json").write_text(json.dumps(config).replace("Infinity", "1e999"))
        with pytest.raises(BaseUnknown, match="files hold what is not possible"):
            place.link(folder)
        with hub_with("someone/odd", folder) as found:
            monkeypatch.setenv("HF_ENDPOINT", found.address)
            with pytest.raises(BaseUnknown, match="base someone/odd cannot be used"):
                fetching.fetch("someone/odd")
            assert not any(name.endswith(".safetensors") for name in found.fetched)
        settings.bases_folder().mkdir(parents=True, exist_ok=True)
        (settings.bases_folder() / "odd").symlink_to(folder)  # by hand
        assert [one.name for one in installed()] == ["starter"]

    def test_settings_of_a_base_that_are_none(self, base: Path, tmp_path: Path) -> None:
        shutil.copytree(base, tmp_path / "odd")
        (tmp_path / "odd" / "loraloom.toml").write_text("[defaults.samples]\nsteps = 'many'\n")
        with pytest.raises(BaseUnknown, match="files hold what is not possible"):
            place.link(tmp_path / "odd")

    def test_a_linked_folder_is_known_by_its_name_and_stays(
        self, repository: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(repository, tmp_path / "elsewhere" / "noobai-xl")
        name, _ = adding.add(Wish(source=str(tmp_path / "elsewhere" / "noobai-xl"), name="mine"))
        assert name == "mine" and "mine" in [one.name for one in installed()]
        assert families.detect("mine").load(settings.resolve_base("mine")).vae is not None
        assert place.remove("mine") == tmp_path / "elsewhere" / "noobai-xl"
        assert (tmp_path / "elsewhere" / "noobai-xl" / "unet").is_dir()
        assert list(settings.base_folders()) == ["starter"]

    def test_what_is_no_whole_base_is_not_linked(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(BaseUnknown, match="not a diffusers folder"):
            place.link(tmp_path)
        shutil.copytree(base, tmp_path / "cut")
        shutil.rmtree(tmp_path / "cut" / "vae")
        with pytest.raises(BaseUnknown, match="no folder 'vae'"):
            place.link(tmp_path / "cut")

    def test_parts_without_all_their_weights_are_not_linked(
        self, base: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(base, tmp_path / "cut")
        vae = tmp_path / "cut" / "vae"
        (file,) = vae.glob("*.safetensors")
        names = [f"{file.stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
        file.rename(vae / names[0])
        index = {"weight_map": {"a": names[0], "b": names[1]}}
        (vae / f"{file.name}.index.json").write_text(json.dumps(index))
        with pytest.raises(BaseUnknown, match=r"vae has no \.safetensors, or not all pieces"):
            place.link(tmp_path / "cut")
        (vae / names[1]).write_bytes(b"")
        assert place.whole_base(tmp_path / "cut").id == "sd15"
        for name in names:
            (vae / name).unlink()
        with pytest.raises(BaseUnknown, match=r"vae has no \.safetensors"):
            place.link(tmp_path / "cut")

    def test_a_link_whose_folder_is_gone(self, base: Path, tmp_path: Path) -> None:
        shutil.copytree(base, tmp_path / "away")
        place.link(tmp_path / "away")
        shutil.rmtree(tmp_path / "away")
        assert place.lost_links() == {"away": tmp_path / "away"}
        with pytest.raises(BaseUnknown, match=r"link to .*away, which is not there"):
            families.detect("away")
        place.remove("away")
        assert place.lost_links() == {}

    def test_a_link_that_cannot_be_looked_at_hides_no_other(
        self, base: Path, tmp_path: Path
    ) -> None:
        place.link(base, "whole")
        inside = tmp_path / "inside"  # one of whose parts leads nowhere
        shutil.copytree(base, inside)
        place.link(inside, "a part")
        (inside / "more").symlink_to("y" * 300)
        (settings.bases_folder() / "odd").symlink_to("x" * 300)
        assert {one.name for one in installed()} >= {"starter", "whole"}
        assert list(place.lost_links()) == ["odd"]
        with pytest.raises(BaseUnknown, match=r"link to x+, which is not there"):
            families.detect("odd")
        with pytest.raises(BaseUnknown, match="There is no base"):
            families.detect("z" * 300)
        place.remove("odd")
        assert place.lost_links() == {}

    def test_removing(self, served: Hub) -> None:
        with pytest.raises(BaseKept, match="part of Loraloom"):
            place.remove("starter")
        for name in ("other", "../home", ".partial", "x" * 300, "a\0b"):
            with pytest.raises(BaseUnknown, match="There is no base"):
                place.remove(name)
        folder = fetching.fetch(NAME).folder
        place.remove("tiny-base")
        assert not folder.exists() and not list(folder.parent.glob(".removed*"))

    def test_forgetting_what_was_begun(self, served: Hub) -> None:
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetching.fetch(NAME, progress=stop)
        fetching.forget(NAME)
        assert fetching.unfinished() == []
        for name in (NAME, "../../home"):
            with pytest.raises(BaseUnknown, match="Nothing of"):
                fetching.forget(name)


class TestCommands:
    def test_a_base_of_the_hub_that_is_not_here(self) -> None:
        with pytest.raises(BaseUnknown, match=f"fetch it with `loraloom bases add {NAME}`"):
            families.detect(NAME)

    def test_one_that_is_here_by_its_short_name(self, base: Path) -> None:
        place.link(base, "tiny-base")
        with pytest.raises(BaseUnknown, match="Did you mean 'tiny-base'"):
            families.detect(NAME)

    def test_add_and_remove(self, served: Hub, repository: Path) -> None:
        runner = CliRunner()
        done = runner.invoke(cli.app, ["bases", "add", NAME, "--revision", "main"])
        assert done.exit_code == 0, done.output
        assert "tiny-base: Stable Diffusion 1.5" in done.stderr
        assert "tiny-base" in runner.invoke(cli.app, ["bases"]).stdout
        kept = runner.invoke(cli.app, ["bases", "remove", "tiny-base"], input="n\n")
        assert "Jobs of a studio are not looked at." in kept.stderr
        assert kept.exit_code == 1 and "tiny-base" in settings.base_folders()
        gone = runner.invoke(cli.app, ["bases", "remove", "tiny-base", "--yes"])
        assert gone.exit_code == 0 and "tiny-base" not in settings.base_folders()
        refused = runner.invoke(cli.app, ["bases", "add", "someone/else"])
        assert isinstance(refused.exception, LoraloomError)
