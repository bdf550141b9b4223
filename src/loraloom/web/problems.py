"""Errors in one shape: RFC 9457 for programs, a page or a notice for people."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from loraloom import errors
from loraloom.errors import DatasetProblems, LoraloomError, SignInRequired, TooManyRequests
from loraloom.web.said import said

_LOG = logging.getLogger("loraloom.web")
_STATUSES: dict[type[LoraloomError], int] = {
    errors.JobUnknown: 404,
    errors.DatasetUnknown: 404,
    errors.BaseUnknown: 404,
    errors.AdapterUnknown: 404,
    errors.PictureUnknown: 404,
    errors.ProjectUnknown: 404,
    errors.AdapterDamaged: 500,
    errors.FolderMissing: 404,
    errors.PersonUnknown: 404,
    errors.EntryUnknown: 404,
    errors.SignInRequired: 401,
    errors.SignInRefused: 401,
    errors.Forbidden: 403,
    errors.TooManyRequests: 429,
    errors.JobRefused: 409,
    errors.DatasetBusy: 409,
    errors.CaptionsChanged: 409,
    errors.ChangedMeanwhile: 412,
    errors.NothingToUndo: 409,
    errors.UploadUnknown: 404,
    errors.UploadRefused: 409,
    errors.UploadTooLarge: 413,
    errors.OutputExists: 409,
    errors.BaseKept: 409,
    errors.DatasetDamaged: 500,
    errors.DatabaseUnusable: 503,
    errors.PlanFailed: 503,
    errors.DiskFull: 507,
    errors.OutputUnwritable: 507,
}
"""Of what is not the fault of the values that were given (422)."""


class ProblemBody(BaseModel):
    """What an error answers with, as application/problem+json (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[str] = []
    """Everything that is wrong, where it is more than one thing."""


ANSWERS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "Not done; the detail says why and what to do.",
        "content": {"application/problem+json": {"schema": ProblemBody.model_json_schema()}},
    }
}
"""For the OpenAPI description of every route."""


@dataclass(frozen=True)
class Problem:
    """Why a request was not done."""

    status: int
    code: str
    """A stable name for programs."""
    detail: str
    problems: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the status is called."""
        return HTTPStatus(self.status).phrase

    def response(self, request: Request) -> Response:
        """As JSON to programs, as a notice to a part of a page, or as a page."""
        if self.code == SignInRequired.__name__ and not _is_api(request):
            return _to_sign_in(request)
        told = replace(
            self, detail=_told(self.detail), problems=[_told(one) for one in self.problems]
        )
        if _is_api(request):
            body = ProblemBody(
                type=f"urn:loraloom:problem:{self.code}", title=self.title, status=self.status,
                detail=told.detail, problems=told.problems,
            )  # fmt: skip
            return JSONResponse(
                body.model_dump(), self.status, self.headers, "application/problem+json"
            )
        from loraloom.web.render import notice, page

        if "hx-request" in request.headers:
            return notice(told)
        response = page(request, "problem.html", status=self.status, problem=told)
        response.headers.update(self.headers)
        return response


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _told(text: str) -> str:
    """In the language of the request, and without what no UTF-8 can hold, such as half of a
    surrogate pair that somebody sent."""
    return said(text).encode("utf-8", "replace").decode()


def _to_sign_in(request: Request) -> Response:
    """On to the page where one signs in, which leads back."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    url = f"/sign-in?then={quote(asked if request.method == 'GET' else '/', safe='/')}"
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/sign-in"})
    return RedirectResponse(url, status_code=303)


def problem_of(error: LoraloomError) -> Problem:
    """How an error is told."""
    status = next((s for kind, s in _STATUSES.items() if isinstance(error, kind)), 422)
    problems = error.problems if isinstance(error, DatasetProblems) else []
    headers = {}
    if isinstance(error, SignInRequired):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.wait_s)
    return Problem(status, type(error).__name__, str(error), problems, headers)


def install(app: FastAPI) -> None:
    """Let the application answer every error as a problem."""

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, LoraloomError)
        return problem_of(error).response(request)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        wrong = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()]
        return Problem(422, "request_invalid", "; ".join(wrong), wrong).response(request)

    def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = HTTPStatus(error.status_code).name.lower()
        headers = dict(error.headers or {})
        return Problem(error.status_code, code, str(error.detail), headers=headers).response(
            request
        )

    def broken(request: Request, error: Exception) -> Response:
        _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
        detail = "Loraloom made a mistake here, and its log has the details. Nothing was changed."
        return Problem(500, "bug", detail).response(request)

    app.add_exception_handler(LoraloomError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, broken)
