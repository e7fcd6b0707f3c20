"""Paths and URLs: which are refused, and what of them is ever written down."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vesal.cluster.hiding import hide_secrets
from vesal.cluster.places import (
    PasswordInUrlError,
    PlaceError,
    base_name,
    beside,
    check_place,
    joined,
    local_path,
    mark_of,
    patiently,
    redacted,
    shown,
)


def refused(status: int) -> Exception:
    """As a web client raises it."""
    error = OSError()
    error.status = status  # type: ignore[attr-defined]
    return error


SECRETS = [
    "s3://key:pass-word@bucket/a.nii.gz",
    "S3://key:pass-word@bucket/a.nii.gz",
    "s3://key:pass-word/with-slash@bucket/a.nii.gz",
    "s3://key:12/pass-word@bucket/a.nii.gz",
    "https://token-pass-word@host/a.nii.gz",
    "http://user:pass-word@127.0.0.1:80/",
    "az://user:pass-word@account/a",
]


@pytest.mark.parametrize("place", SECRETS)
def test_a_url_with_a_password_is_refused_and_not_repeated(place: str) -> None:
    with pytest.raises(PasswordInUrlError) as error:
        check_place(place)
    assert "pass-word" not in str(error.value)
    assert "environment" in str(error.value)


@pytest.mark.parametrize(
    "place",
    [
        "ssh://host/a",
        "reference://x",
        "memory://x",
        "s3://bucket/a::s3://b",
        " ",
    ],
)
def test_other_schemes_are_refused(place: str) -> None:
    with pytest.raises(PlaceError):
        check_place(place)


@pytest.mark.parametrize(
    "place",
    [
        "/a/b",
        "a@b:c",
        "s3://bucket/a@b:c.nii.gz",
        "abfs://container@account/x",
        "http://127.0.0.1:8/a",
        "simplecache::s3://bucket/a",  # a path with odd letters
        "C:/x",
    ],
)
def test_places_that_are_read(place: str) -> None:
    assert check_place(place) == place


def test_the_web_is_not_written_to() -> None:
    with pytest.raises(PlaceError, match="cannot be written"):
        check_place("https://host/x", writes=True)


def test_what_is_shown_has_no_query_and_no_user() -> None:
    assert shown("https://host/a b/c.nii.gz?X-Amz-Signature=1#2") == "https://host/a b/c.nii.gz?..."
    assert shown("abfs://container@account/x") == "abfs://container@account/x"
    assert shown("/data/what?.nii.gz") == "/data/what?.nii.gz"
    assert redacted("at https://host/a b.nii?sig=SIGNED now", {}) == "at https://host/a b.nii?... now"
    text = redacted("404, url='https://u:p@host/a?sig=SIGNED', and s3://k:p@b/c?versionId=SIGNED now", {})
    assert text == "404, url='https://host/a?...', and s3://b/c?... now"


def test_what_is_hidden_already_stays_as_it_is() -> None:
    text = "https://host/a?...: there is no scan, s3://b/c?... (b?...)"
    assert redacted(text, {}) == text
    assert redacted("https://host/a?...SIGNED", {}) == "https://host/a?..."


def test_values_of_the_environment_are_hidden() -> None:
    environment = {"AWS_SECRET_ACCESS_KEY": "abcdefgh12", "MY_TOKEN": "short", "HOME": "/home/somebody"}
    text = redacted("abcdefgh12 short /home/somebody", environment)
    assert text == "*** short /home/somebody"


def test_the_log_is_without_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abcdefgh12")
    hide_secrets()
    logging.getLogger("vesal").error("%s at %s", "abcdefgh12", "https://u:p@h/x?sig=1")
    assert caplog.messages == ["*** at https://h/x?..."]
    try:
        raise OSError("at https://h/x?sig=1\nand more")
    except OSError:
        logging.getLogger("vesal").exception("it broke")
    assert "sig=1" not in caplog.text
    assert "\n    OSError: at https://h/x?...\n    and more\n" in caplog.text


def test_parts_of_places() -> None:
    assert base_name("https://h/a/CT%201.nii.gz?x=/y") == "CT 1.nii.gz"
    assert base_name("https://h/a/%2e%2e%2f%2e%2e") == "scan", "it leads nowhere else"
    assert base_name("s3://b/a?c.nii.gz") == "a?c.nii.gz"
    assert base_name("s3://b/series/") == "series"
    assert base_name("/a/b/..") == "a"
    assert beside("https://h/a/b.nii?x=1", "c d.json") == "https://h/a/c%20d.json?x=1"
    assert beside("s3://b/a?c.nii.gz", "d.json") == "s3://b/d.json"
    assert joined("s3://b/out/", "x/y") == "s3://b/out/x/y"
    assert joined("/out", "x/y") == "/out/x/y"
    assert local_path("file:///a/b%20c") == Path("/a/b c")
    assert local_path("s3://b/a") is None


def test_a_network_that_fails_for_a_moment_is_asked_again() -> None:
    answers: list[Exception | int] = [ConnectionError(), TimeoutError(), 7]
    pauses: list[float] = []

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(ask, pauses.append) == 7
    assert pauses == [1.0, 4.0]
    answers[:] = [ConnectionError(), ConnectionError(), ConnectionError(), 7]
    with pytest.raises(ConnectionError):
        patiently(ask, pauses.append)
    assert answers == [7]


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError(), PlaceError(), refused(403)])
def test_a_plain_no_is_not_asked_again(error: Exception) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(type(error)):
        patiently(ask, lambda _: pytest.fail("it waits"))


def test_sizes_and_times_prove_nothing() -> None:
    assert mark_of({"size": 3, "LastModified": "now"}) is None
    first = mark_of({"ETag": '"1"', "size": 3, "LastModified": "now"})
    assert first == mark_of({"etag": '"1"', "size": 3, "LastModified": "later"})
    assert first != mark_of({"ETag": '"2"', "size": 3})
