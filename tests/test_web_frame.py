"""What holds for every request: who may ask, in what shape errors come, what answers carry."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.loops import in_a_loop

from loraloom.config_tree import read_toml
from loraloom.errors import ServerRefused
from loraloom.studio.rights import ALONE
from loraloom.studio.studio import Studio
from loraloom.train import recipe
from loraloom.web import server
from loraloom.web.live import BACKLOG, Live, as_batch
from loraloom.web.who import Entry


@pytest.fixture
def job(studio: Studio, pictures: Path, base: Path) -> int:
    """A queued job."""
    config = recipe.resolve({"base": str(base), "data": {"folder": str(pictures)}})
    return studio.jobs.add(config, 'cups <script>alert("x")</script>').id


def test_another_host_is_refused(client: TestClient) -> None:
    refused = client.get("/api/v1/jobs", headers={"Host": "evil.example"})
    assert refused.status_code == 421
    assert "testserver" in refused.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_change_nothing(
    client: TestClient, studio: Studio, job: int, headers: dict[str, str]
) -> None:
    for path in (f"/api/v1/jobs/{job}/cancel", f"/train/{job}/cancel"):
        assert client.post(path, headers=headers).status_code == 403
    assert studio.jobs.get(job).state == "queued"


def test_own_pages_change_things(client: TestClient, studio: Studio, job: int) -> None:
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    answer = client.post(f"/train/{job}/cancel", headers=own)
    assert (answer.status_code, answer.headers["location"]) == (303, "/train")
    assert studio.jobs.get(job).state == "cancelled"


def test_nobody_is_sent_elsewhere(client: TestClient) -> None:
    for url in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        answer = client.post("/preferences/theme", data={"theme": "dark", "then": url})
        assert answer.headers["location"] == "/"


def test_answers_carry_a_strict_policy(client: TestClient) -> None:
    for path in ("/", "/api/v1/jobs", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]* src=)|style=|onclick=", client.get("/").text)


def test_errors_are_problems(client: TestClient) -> None:
    for path, status in (("/api/v1/jobs/7", 404), ("/api/v1/jobs/x", 422), ("/api/v1/nix", 404)):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["status"] == status
        assert body["detail"]
        assert body["type"].startswith("urn:loraloom:problem:")
    assert client.put("/api/v1/jobs").status_code == 405


def test_errors_of_pages_are_pages_or_notices(client: TestClient) -> None:
    page = client.post("/train/7/cancel")
    assert page.status_code == 404
    assert "There is no job 7" in page.text
    assert "<html" in page.text
    part = client.post("/train/7/cancel", headers={"HX-Request": "true"})
    assert part.headers["hx-retarget"] == "#notices"
    assert "<html" not in part.text


def test_a_refused_change_tells_why(client: TestClient, job: int) -> None:
    answer = client.post(f"/api/v1/jobs/{job}/stop")
    assert answer.status_code == 409
    assert "only a running job" in answer.json()["detail"]


def test_users_words_are_escaped(client: TestClient, job: int) -> None:
    html = client.get("/train").text
    assert "<script>alert" not in html
    assert "cups &lt;script&gt;" in html


def test_files_outside_the_run_are_not_given(client: TestClient, studio: Studio, job: int) -> None:
    folder = studio.jobs.get(job).run_folder
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights")
    assert client.get(f"/api/v1/jobs/{job}/files/adapter.safetensors").content == b"weights"
    part = client.get(
        f"/api/v1/jobs/{job}/files/adapter.safetensors", headers={"Range": "bytes=2-4"}
    )
    assert (part.status_code, part.content) == (206, b"igh")
    (folder.parent / "log.txt").write_text("secret")
    for name in ("../log.txt", "..%2flog.txt", "%2e%2e/log.txt", "/etc/passwd", "a%00b"):
        assert client.get(f"/api/v1/jobs/{job}/files/{name}").status_code == 404


def test_settings_are_the_jobs_own(
    client: TestClient, job: int, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(client.get(f"/api/v1/jobs/{job}/settings").text)
    assert read_toml(tmp_path / "s.toml")["data"]["folder"] == str(pictures)


def test_jobs_come_in_pages(client: TestClient, studio: Studio, job: int) -> None:
    config = recipe.resolve(read_settings(studio, job))
    for number in range(4):
        studio.jobs.add(config, f"more {number}")
    first = client.get("/api/v1/jobs", params={"limit": 3}).json()
    assert [one["id"] for one in first["jobs"]] == [5, 4, 3]
    rest = client.get("/api/v1/jobs", params={"limit": 3, "before": first["next"]}).json()
    assert ([one["id"] for one in rest["jobs"]], rest["next"]) == ([2, 1], None)


def read_settings(studio: Studio, job: int) -> dict[str, object]:
    import tomllib

    return tomllib.loads(studio.jobs.get(job).settings)


def test_a_batch_of_news_is_one_event(studio: Studio, job: int) -> None:
    lines = as_batch(studio.jobs.events(job)).decode().splitlines()
    assert lines[0] == f"id: {studio.jobs.last_event()}"
    told = json.loads(lines[1].removeprefix("data: "))
    assert [(one["job"], one["event"], one["state"]) for one in told] == [(job, "state", "queued")]


def test_news_come_once_each_whenever_somebody_joins(studio: Studio, job: int) -> None:
    async def told(after: int | None, more: int) -> list[int]:
        live = Live(studio.jobs, lambda entry: True)
        numbers: list[int] = []
        async with live.running():
            stream = live.stream(after, Entry(ALONE))
            assert await anext(stream) == b"retry: 2000\n\n"
            for _ in range(more):
                studio.jobs.pause(job)
                studio.jobs.resume(job)
            newest = studio.jobs.last_event()
            while newest not in numbers and (more or after is not None):
                batch = (await anext(stream)).decode()
                data = batch.partition("data: ")[2]
                numbers += [one["id"] for one in json.loads(data or "[]")]
            await stream.aclose()
        return numbers

    studio.jobs.pause(job)
    assert in_a_loop(told(0, more=0)) == [1, 2]
    assert in_a_loop(told(1, more=2)) == [2, 3, 4, 5]
    assert in_a_loop(told(None, more=1)) == [6, 7]


def test_a_browser_that_does_not_read_is_let_go(studio: Studio, job: int) -> None:
    async def slow() -> list[bytes]:
        live = Live(studio.jobs, lambda entry: True)
        stream = live.stream(None, Entry(ALONE))
        found = [await anext(stream)]
        for _ in range(BACKLOG + 1):
            await live._tell(studio.jobs.events(job))
        return [*found, *[batch async for batch in stream]]

    assert in_a_loop(slow()) == [b"retry: 2000\n\n"]


def test_language_and_theme_are_kept(client: TestClient) -> None:
    assert 'lang="en"' in client.get("/").text
    browser = client.get("/", headers={"Accept-Language": "zh-TW,zh;q=0.9"})
    assert 'lang="zh-Hant"' in browser.text
    client.post("/preferences/language", data={"language": "zh_Hant"})
    client.post("/preferences/theme", data={"theme": "dark"})
    html = client.get("/").text
    assert 'lang="zh-Hant"' in html
    assert 'data-theme="dark"' in html


def test_one_server_a_data_folder(home: Path) -> None:
    second = server.only_server(home)
    with server.only_server(home), pytest.raises(ServerRefused, match="already serves"):
        second.__enter__()
    with server.only_server(home):
        pass


def test_answers_wait_for_no_acknowledgement() -> None:
    with server._socket("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # as asyncio asks before TCP_NODELAY


def test_other_addresses_need_accounts(studio: Studio) -> None:
    with pytest.raises(ServerRefused, match="no accounts"):
        server.serve(studio, "0.0.0.0", 0, worker=False)


def test_the_server_starts_without_torch() -> None:
    code = "import loraloom.web.server, sys; print({'torch', 'diffusers'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
