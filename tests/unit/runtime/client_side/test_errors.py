"""How a Status becomes an exception (spec runtime G-10)."""

from __future__ import annotations

import msgspec
import pytest

from bobrapet.runtime import errors
from bobrapet.runtime.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Gone,
    InternalError,
    Invalid,
    NotFound,
    ServerTimeout,
    Timeout,
    error_from_response,
    error_from_status,
)


@pytest.mark.parametrize(
    ("reason", "code", "expected"),
    [
        ("AlreadyExists", 409, AlreadyExists),
        ("Conflict", 409, Conflict),
        ("", 409, Conflict),
        ("Expired", 410, Expired),
        ("Gone", 410, Gone),
        ("", 410, Gone),
        ("ServerTimeout", 500, ServerTimeout),
        ("", 500, InternalError),
        ("", 504, Timeout),
        ("NotFound", 400, NotFound),
        ("Invented", 404, NotFound),
        ("Invented", 599, ApiError),
    ],
)
def test_the_reason_decides_before_the_code(reason: str, code: int, expected: type[ApiError]) -> None:
    error = error_from_status({"code": code, "reason": reason, "message": "m"})
    assert type(error) is expected
    assert error.status == code


def test_details_and_retry_are_kept() -> None:
    details = {"retryAfterSeconds": 3, "causes": [{"reason": "ResourceVersionTooLarge", "message": "too large"}]}
    error = error_from_status({"code": 504, "reason": "Timeout", "details": details})
    assert error.retry_after == 3
    assert error.has_cause("ResourceVersionTooLarge")
    assert not error.has_cause("Other")


def test_the_header_wins_over_the_details() -> None:
    body = msgspec.json.encode({"kind": "Status", "code": 429, "details": {"retryAfterSeconds": 3}})
    assert error_from_response(429, body, retry_after=8).retry_after == 8


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{}", b"\xff\xfe", b"<html>"])
def test_any_body_gives_an_error_of_the_code(body: bytes) -> None:
    error = error_from_response(404, body, request="GET /x")
    assert type(error) is NotFound
    assert "GET /x" in str(error)


@pytest.mark.parametrize("status", [{}, {"code": "x"}, {"details": []}, {"code": 0, "details": {"causes": 3}}])
def test_a_malformed_status_is_an_error_all_the_same(status: dict[str, object]) -> None:
    error = error_from_status(status)
    assert error.status == 500
    assert error.causes == []


def test_an_error_can_be_made_by_hand_and_sent() -> None:
    error = Invalid("size must be positive", details={"causes": [{"field": "spec.size"}]})
    assert error.to_status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "size must be positive",
        "reason": "Invalid",
        "code": 422,
        "details": {"causes": [{"field": "spec.size"}]},
    }
    again = error_from_status(error.to_status())
    assert (type(again), str(again), again.details) == (Invalid, str(error), error.details)


def test_the_tree_at_the_top_of_the_file_shows_every_class() -> None:
    shown = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.ControllerRuntimeError):
            assert name in shown, f"{name} is missing in the tree"
