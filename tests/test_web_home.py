"""The first page, the welcome and the example."""

from fastapi.testclient import TestClient

from loraloom.studio.studio import Studio


def test_a_new_studio_welcomes(client: TestClient) -> None:
    html = client.get("/").text
    assert "Welcome to Loraloom" in html
    assert 'action="/welcome/example"' in html


def test_the_example_is_trained_in_two_clicks(client: TestClient, studio: Studio) -> None:
    answer = client.post("/welcome/example")
    assert answer.headers["location"] == "/train/1"
    job = studio.jobs.get(1)
    contents = studio.datasets.open("Mira").working
    assert len(contents.pictures) == 30
    assert [concept.trigger for concept in contents.concepts] == ["ohwx woman"]
    assert f"Mira@{contents.hash}" in job.settings
    assert 'trigger = "ohwx woman"' in job.settings
    again = client.post("/welcome/example")
    assert again.headers["location"] == "/train/2"
    assert len(studio.datasets.open("Mira").working.pictures) == 30
    home = client.get("/").text
    assert "In the queue" in home


def test_the_guide_has_the_sizes_of_each_kind(client: TestClient) -> None:
    html = client.get("/guide").text
    for kind in ("Character", "Style", "Object", "Concept", "Scene"):
        assert kind in html
    assert "25–35" in html
