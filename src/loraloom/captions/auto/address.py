"""An HTTP address that the user named: one request, one answer, nothing else contacted.

No redirect is followed and no proxy is used.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from loraloom.errors import ProviderInvalid

MOST_BYTES = 4 * 2**20


Lasts = Literal["always", "a moment", "this request"]


class AddressFailure(Exception):
    """The address did not answer; `lasts` tells what will be the same as long as nobody acts."""

    def __init__(self, reason: str, lasts: Lasts) -> None:
        self.lasts = lasts
        super().__init__(reason)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Address:
    """Where requests go: http or https, a host, and the path before the interface's own names."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ProviderInvalid."""
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError as error:
            raise ProviderInvalid(f"{text!r} is no address ({error}).") from error
        if parts.username is not None or parts.password is not None:
            raise ProviderInvalid(
                "The address holds a name or password, which would be shown in messages; give the "
                "key by --key-env."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ProviderInvalid(
                f"{text!r} is no address of a vision model; expected one such as "
                "http://127.0.0.1:11434/v1 (Ollama) or https://api.example.com/v1."
            )
        if parts.query or parts.fragment or not _is_plain(parts.path + parts.hostname):
            raise ProviderInvalid(
                f"{text!r} has a part behind ? or #, or letters that an address cannot have; name "
                "it without."
            )
        secure = parts.scheme == "https"
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        return cls(secure, parts.hostname, port or (443 if secure else 80), path)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.secure else 80
        port = "" if self.port == usual else f":{self.port}"
        return f"{'https' if self.secure else 'http'}://{host}{port}{self.path}"

    def post(self, name: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Send `body` to `name` below the path; the whole answer must come within `timeout_s`.

        Raises AddressFailure.
        """
        until = time.monotonic() + timeout_s
        connection = self._connection(timeout_s)
        try:
            with _telling_failures(timeout_s):
                connection.request("POST", f"{self.path}{name}", body, dict(headers))
                response = connection.getresponse()
                data = _read(response, until)
        finally:
            connection.close()
        found = {key.lower(): value for key, value in response.getheaders()}
        return Reply(response.status, found, data)

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self.secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=timeout_s, context=context
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _read(response: http.client.HTTPResponse, until: float) -> bytes:
    data = bytearray()
    while piece := response.read1(65536):
        data += piece
        if len(data) > MOST_BYTES:
            raise AddressFailure("its answer is longer than 4 MiB", "this request")
        if time.monotonic() > until:
            raise TimeoutError
    if response.length:  # what is still missing of the length that was announced
        raise ConnectionResetError
    return bytes(data)


@contextmanager
def _telling_failures(timeout_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise AddressFailure(f"it did not answer within {timeout_s:g} s", "this request") from error
    except ConnectionRefusedError as error:
        raise AddressFailure("nothing listens there", "always") from error
    except (ConnectionError, http.client.IncompleteRead) as error:
        raise AddressFailure("the connection broke", "a moment") from error
    except ssl.SSLCertVerificationError as error:
        reason = f"its certificate is not trusted ({error.verify_message})"
        raise AddressFailure(reason, "always") from error
    except http.client.HTTPException as error:
        reason = f"its answer is not HTTP ({type(error).__name__})"
        raise AddressFailure(reason, "always") from error
    except OSError as error:
        raise AddressFailure(error.strerror or str(error), "always") from error
