"""A vision model behind an address: what is sent, and what becomes of each kind of answer."""

import base64
import io
import itertools
import json
import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from PIL import Image
from tests.chat_server import Said, Server, error, serving

from loraloom.captions import vocabulary
from loraloom.captions.auto import prompts
from loraloom.captions.auto.address import Address
from loraloom.captions.auto.answer import Answer, Failure
from loraloom.captions.auto.pace import Pace, retry_after_s
from loraloom.captions.auto.prompts import Prompt
from loraloom.captions.auto.provider import Provider
from loraloom.errors import ProviderFailed, ProviderInvalid
from loraloom.kinds import Kind, read_data

KEY = "sk-very-secret"
NAMES = (
    "standard", "detailed", "concise", "video", "tags", "tags-strict", "tags-batch", "hybrid"
)  # fmt: skip


def picture(colour: str = "red", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, colour)


class Naps:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def asker(
    server: Server, prompt: Prompt | None = None, *, key: str = "", timeout_s: float = 5.0,
    per_minute: float = 0.0,
) -> tuple[Provider, Naps]:  # fmt: skip
    naps = Naps()
    asked = prompt or prompts.prompt("standard", "en", Kind.CHARACTER, "ohwx woman", "")
    pace = Pace(per_minute, lambda: naps.now, naps.sleep)
    address = Address.parse(server.address)
    return Provider(address, "llava", asked, key=key, pace=pace, timeout_s=timeout_s), naps


def test_what_is_sent_follows_the_schema() -> None:
    with serving(lambda asked, number: Said("a cat")) as server:
        provider, _ = asker(server, key=KEY)
        assert provider.describe([(picture("blue", (3000, 1500)),)]) == [Answer(text="a cat")]
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "llava"
    system, user = asked.body["messages"]
    assert system["role"] == "system" and "ohwx woman" in system["content"]
    assert user["content"][0] == {"type": "text", "text": "Caption this picture."}
    kind, _, data = asked.pictures[0].partition(";base64,")
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (kind, sent.format, sent.size) == ("data:image/jpeg", "JPEG", (1024, 512))
    assert sent.getpixel((500, 250))[2] > 240  # type: ignore[index]


def test_without_a_key_none_is_sent() -> None:
    with serving(lambda asked, number: Said("a cat")) as server:
        asker(server)[0].describe([(picture(),)])
    assert "Authorization" not in server.asked[0].headers


def test_a_busy_server_is_waited_for_as_it_asks() -> None:
    replies = [error(429, "slow down", Retry_After="7"), error(500), error(503), Said("a cat")]
    with serving(lambda asked, number: replies[number]) as server:
        provider, naps = asker(server)
        assert provider.describe([(picture(),)]) == [Answer(text="a cat")]
    assert naps.slept[0] == 7
    assert 3.2 <= naps.slept[1] <= 4.8  # 2 s · 2 for the second pause, a fifth more or less
    assert 6.4 <= naps.slept[2] <= 9.6


def test_a_date_is_a_time_to_wait_until() -> None:
    until = datetime.now(UTC) + timedelta(seconds=30)
    asked = retry_after_s({"retry-after": format_datetime(until, usegmt=True)})
    assert asked is not None and 27 < asked <= 30
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None


def test_a_server_that_asks_for_hours_is_left_alone() -> None:
    with serving(lambda asked, number: error(429, "quota", Retry_After="7200")) as server:
        provider, naps = asker(server)
        with pytest.raises(ProviderFailed, match=r"asks to wait 7200 s .*goes on"):
            provider.describe([(picture(),)])
    assert naps.slept == [] and len(server.asked) == 1


def test_a_picture_that_gets_no_answer_fails_alone() -> None:
    with serving(lambda asked, number: error(500, "boom")) as server:
        provider, _ = asker(server)
        (failure,) = provider.describe([(picture(),)])
    assert failure == Failure("it answered 500 (boom), 5 times")
    assert len(server.asked) == 5


def test_an_account_without_credit_ends_the_run_at_once() -> None:
    with (
        serving(lambda asked, number: error(429, "no credit", "insufficient_quota")) as server,
        pytest.raises(ProviderFailed, match="no credit left"),
    ):
        asker(server)[0].describe([(picture(),)])
    assert len(server.asked) == 1


def completion(**choice: object) -> bytes:
    return json.dumps({"choices": [choice]}).encode()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Said(""), "answered nothing"),
        (Said(raw=b"{broken"), "no chat completion"),
        (Said(raw=b"<html>hello</html>"), "no chat completion"),
        (Said(raw=b'{"choices": []}'), "no chat completion"),
        (Said(raw=completion(message={"content": None})), "answered nothing"),
        (Said(raw=completion(message={"content": "a c"}, finish_reason="length")), "cut off"),
        (Said(raw=completion(message={"content": None, "refusal": "No."})), "refused: No."),
        (Said("I'm sorry, I can't help with that."), "refused"),
        (error(400, "image too large"), r"400 \(image too large\)"),
        (error(413), "413"),
    ],
)
def test_an_answer_without_caption_is_told(said: Said, reason: str) -> None:
    with serving(lambda asked, number: said) as server:
        (failure,) = asker(server)[0].describe([(picture(),)])
    assert isinstance(failure, Failure) and re.search(reason, failure.reason)
    assert len(server.asked) == 1


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "cat"}]
    with serving(lambda asked, number: Said(raw=completion(message={"content": parts}))) as server:
        assert asker(server)[0].describe([(picture(),)]) == [Answer(text="a cat")]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), "--key-env"),
        (error(403, "forbidden"), "--key-env"),
        (error(404, 'model "llava" not found'), "--model"),
        (error(302, Location="http://elsewhere.example/v1"), "not followed"),
    ],
)
def test_what_no_other_picture_would_change_ends_the_run(said: Said, says: str) -> None:
    with serving(lambda asked, number: said) as server:
        provider, _ = asker(server, key=KEY)
        with pytest.raises(ProviderFailed, match=says) as caught:
            provider.describe([(picture(),)])
    assert len(server.asked) == 1
    assert KEY not in str(caught.value) and KEY not in repr(provider)


def test_a_slow_answer_is_given_up() -> None:
    free = threading.Event()
    with serving(lambda asked, number: Said("late", wait=free)) as server:
        (failure,) = asker(server, timeout_s=0.3)[0].describe([(picture(),)])
        free.set()
    assert failure == Failure("it did not answer within 0.3 s")


def test_a_dripping_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            talk, _ = listener.accept()
            talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(200):
                try:
                    talk.sendall(b" ")
                except OSError:
                    return
                threading.Event().wait(0.05)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        server = Server(lambda asked, number: Said(), listener.getsockname()[1])
        begun = time.monotonic()
        (failure,) = asker(server, timeout_s=0.4)[0].describe([(picture(),)])
    assert failure == Failure("it did not answer within 0.4 s")
    assert time.monotonic() - begun < 5


def test_nothing_there_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = Server(lambda asked, number: Said(), port)
    with pytest.raises(ProviderFailed, match="nothing listens there"):
        asker(server)[0].describe([(picture(),)])


def test_five_failures_in_a_row_end_the_run() -> None:
    with serving(lambda asked, number: Said("")) as server:
        provider, _ = asker(server)
        for _ in range(4):
            provider.describe([(picture(),)])
        with pytest.raises(ProviderFailed, match=r"5 pictures in a row .* goes on"):
            provider.describe([(picture(),)])


def test_a_model_that_takes_no_temperature_gets_none() -> None:
    with serving(
        lambda asked, number: (
            error(400, "Unsupported value: 'temperature'") if "temperature" in asked.body
            else Said("a cat")
        )
    ) as server:  # fmt: skip
        provider, _ = asker(server)
        assert provider.describe([(picture(),)]) == [Answer(text="a cat")]
        provider.describe([(picture(),)])
    assert ["temperature" in asked.body for asked in server.asked] == [True, False, False]


def test_several_pictures_go_in_one_request_and_those_left_out_alone() -> None:
    prompt = prompts.prompt("tags-batch", "en", Kind.CHARACTER, "ohwx woman", "")
    replies = ["1: cat, mat\n3: dog, rug", "1: bird, tree"]
    with serving(lambda asked, number: Said(replies[number])) as server:
        provider, _ = asker(server, prompt)
        assert provider.batch == 4
        told = provider.describe([(picture(c),) for c in ("red", "green", "blue")])
    assert told == [Answer(text=t) for t in ("cat, mat", "bird, tree", "dog, rug")]
    assert [len(asked.pictures) for asked in server.asked] == [3, 1]
    assert server.asked[1].pictures[0] == server.asked[0].pictures[1]


def test_the_frames_of_a_clip_go_together() -> None:
    prompt = prompts.prompt("video", "en", Kind.CHARACTER, "ohwx woman", "")
    with serving(lambda asked, number: Said("a cat runs")) as server:
        provider, _ = asker(server, prompt)
        assert provider.frames == 4
        told = provider.describe([(picture("red"), picture("green"))])
    assert told == [Answer(text="a cat runs")]
    assert len(server.asked[0].pictures) == 2


def test_requests_are_spread_over_the_minute() -> None:
    with serving(lambda asked, number: Said("a cat")) as server:
        provider, naps = asker(server, per_minute=30)
        for _ in range(3):
            provider.describe([(picture(),)])
    assert naps.slept == [2.0, 2.0]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_addresses(given: str, shown: str) -> None:
    assert str(Address.parse(given)) == shown


@pytest.mark.parametrize(
    "given",
    ["", "127.0.0.1:11434", "ftp://x/v1", "http://", "http://user:secret@x/v1", "http://x/v1?key=1",
     "http://x:99999/v1", "http://x/v 1", "http://x/v1#a", "http://exämple.com/v1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ProviderInvalid) as caught:
        Address.parse(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_is_none_is_refused_unseen(key: str) -> None:
    prompt = prompts.prompt("standard", "en", Kind.STYLE, "", "")
    with pytest.raises(ProviderInvalid) as caught:
        Provider(Address.parse("http://x/v1"), "llava", prompt, key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("language", "name", "kind"), list(itertools.product(("en", "zh-TW"), NAMES, Kind))
)
def test_every_prompt_is_filled_in(language: str, name: str, kind: Kind) -> None:
    for trigger in ("zvkr thing", ""):
        prompt = prompts.prompt(name, language, kind, trigger, "")  # type: ignore[arg-type]
        assert "{" not in prompt.system and "}" not in prompt.system
        assert bool(trigger) == ("zvkr thing" in prompt.system)
        assert prompt.question


def test_prompts_name_standard_terms_in_both_languages() -> None:
    tables = {
        language: read_data(f"captions/{language}/prompts") for language in vocabulary.LANGUAGES
    }
    english, chinese = (tables[language]["vocabulary"] for language in ("en", "zh-TW"))
    assert english.keys() == chinese.keys()
    for category, terms in english.items():
        assert set(terms) <= vocabulary.categories("en")[category].terms.keys()
        translated = vocabulary.categories("zh-TW")[category].english
        assert [translated[term] for term in chinese[category]] == terms
    assert tables["en"]["prompts"].keys() == tables["zh-TW"]["prompts"].keys() == set(NAMES)
