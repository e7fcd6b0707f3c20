"""Local paths and URLs of stores (``fsspec``), told apart here and nowhere else.

What a store asks for (keys, tokens, an address of its own) comes from the environment and the machine alone:
a URL with a password is refused, and what is written or logged anywhere is `shown` or `redacted` before.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from vesal.inference.data.errors import MissingPackageError, UnreadableFileError, UsageError, VesalError
from vesal.inference.io.temporary import replacing

log = logging.getLogger("vesal")

T = TypeVar("T")

PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
"""Schemes of URLs, each with the package that fsspec loads for it. No other scheme is read: some run what
they find, as ``reference`` does, and ``::`` joins several."""
READ_ONLY = ("http", "https")
WITH_CONTAINER = ("az", "abfs", "abfss")
"""Schemes that name a container before the `@`, which is no password."""
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/'\"?#]*@)?([^\s'\"?#]*)(?!\?\.\.\.[:;,.)]*(?:\s|$))([?#][^\s'\"]*)?"
)
""""?..." at the end of a word is a query that is hidden already."""
ONE_SLASH = re.compile(r"([A-Za-z0-9]+):/(?!/)")
"""Of a URL that is mistyped."""
QUERY = re.compile(r"\?[\w.%-]+=[^\s'\"]*")
"""Of a URL whose path has spaces, in a message."""
SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSW|KEY|SAS|CONNECTION_STRING")
"""Of variables of the environment whose values are hidden."""
HIDDEN = "?..."
"""In the place of a query."""
MIN_SECRET = 8
"""Characters: shorter values would hide words."""
STRONG = ("etag", "content_md5", "md5", "md5hash", "crc32c", "content-md5")
"""What stores call a digest of the content, in small letters; times and sizes prove nothing."""
PAUSES_S = (1.0, 4.0)
"""Before a store is asked again; the packages of some have tried several times by then."""
SILENT_S = 60.0
"""Without a byte of a web server."""
TOO_MANY = 429
"""Status of a web server that wants to be asked later."""
REFUSED = (401, 403)
"""Status of a web server that wants to know who asks, or knows and says no."""
TALKATIVE = ("fsspec", "s3fs", "aiobotocore", "botocore", "aiohttp", "urllib3", "gcsfs", "azure", "asyncio")
"""Loggers of packages whose messages hold addresses with signatures."""


class PlaceError(UsageError):
    """A path or URL cannot be used as it is given."""


class PasswordInUrlError(PlaceError):
    """A URL holds a password; its message does not repeat it."""


def scheme_of(place: str) -> str | None:
    """The scheme of a URL, in small letters; None for a path. A file URL is a path."""
    found = SCHEME.match(place)
    scheme = found[1].lower() if found else None
    return None if scheme == "file" else scheme


def check_place(place: str, writes: bool = False) -> str:
    """A path or URL as it came. Raises PlaceError where it cannot be read, or not be written (``writes``)."""
    scheme = scheme_of(place)
    if "\0" in place or not place.strip():
        raise PlaceError(f"{place!r} is no path; give a path or a URL.")
    if scheme is None:
        found = ONE_SLASH.match(place)
        if found and found[1].lower() in PACKAGES:  # not repeated: a password may follow
            raise PlaceError(
                f"a URL of {found[1]} begins with {found[1]}:// and has one slash here; add one."
            )
        return place
    address = place.partition("://")[2].split("/", 1)[0]
    account, at, host = address.rpartition("@")
    port = host.rpartition(":")[2] if ":" in host and not host.endswith("]") else ""
    # Keys of S3 have slashes, so what stands before the first one may be the begin of a password.
    is_port = not port or (port.isdecimal() and scheme in READ_ONLY)
    if (at and (scheme not in WITH_CONTAINER or ":" in account)) or not is_port:
        raise PasswordInUrlError(
            f"a URL of {scheme}:// holds a user or a password, which would be written into records and logs. "
            "Leave it out, and give what the store asks for in the environment (docs/cluster.md)."
        )
    if "::" in place or scheme not in PACKAGES:
        raise PlaceError(
            f"{shown(place)} is not read; give a path, or a URL of {', '.join(PACKAGES)} without '::'."
        )
    if writes and scheme in READ_ONLY:
        raise PlaceError(f"{shown(place)} cannot be written to; give a folder, or a URL of s3, gs or az.")
    return place


def local_path(place: str) -> Path | None:
    """The path of what is on this machine; None for a URL of a store."""
    if scheme_of(place) is not None:
        return None
    return Path(unquote(urlsplit(place).path) if SCHEME.match(place) else place)


def shown(place: str) -> str:
    """A place as it may be written down: a URL without user, password and query."""
    if not SCHEME.match(place):
        return place
    path, mark, _ = place.partition("?")
    return _hidden(path) + (HIDDEN if mark else "")


def redacted(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A message without passwords and queries of URLs, and without values of the environment's secrets."""
    for name, value in environment.items():
        if len(value) >= MIN_SECRET and SECRET_NAME.search(name.upper()):
            text = text.replace(value, "***")
    return _hidden(text)


def _hidden(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        container = (
            found[2] if found[1].lower()[:-3] in WITH_CONTAINER and ":" not in (found[2] or "") else ""
        )
        return f"{found[1]}{container or ''}{found[3]}{HIDDEN if found[4] else ''}"

    return QUERY.sub(HIDDEN, URL.sub(plain, text))


def joined(folder: str, name: str) -> str:
    """A place below a folder; ``name`` has slashes and is none of ``..``."""
    if scheme_of(folder) is None:
        return str(Path(local_path(folder) or folder, name))
    return f"{folder.rstrip('/')}/{name}"


def base_name(place: str) -> str:
    """The last part of a path or URL, without a query: a file's name, which leads nowhere else."""
    scheme = scheme_of(place)
    if scheme is None:
        return Path(os.path.abspath(local_path(place) or place)).name
    path = unquote(urlsplit(place).path) if scheme in READ_ONLY else place.partition("://")[2]
    last = path.rstrip("/").rpartition("/")[2]
    return last if last not in ("", ".", "..") else "scan"


def beside(place: str, name: str) -> str:
    """Another file of the same folder; on the web with the same query, as a signature may hold for both."""
    if scheme_of(place) not in READ_ONLY:
        return f"{place.rstrip('/').rpartition('/')[0]}/{name}"
    path, mark, query = place.partition("?")
    return f"{path.rstrip('/').rpartition('/')[0]}/{quote(name)}{mark}{query}"


def patiently(ask: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """What a store answers; a network that fails for a moment is asked again after each of `PAUSES_S`.

    A plain no (not there, not allowed, not as asked) is not asked again. Raises what ``ask`` raised last.
    """
    for pause in (*PAUSES_S, None):
        try:
            return ask()
        except (VesalError, FileNotFoundError, PermissionError, NotImplementedError):
            raise
        except Exception as error:
            status = getattr(error, "status", None)
            if pause is None or (isinstance(status, int) and 400 <= status < 500 and status != TOO_MANY):
                raise
            log.debug("a store is asked again: %s", type(error).__name__)
        sleep(pause)
    raise AssertionError


@cache
def _quiet() -> None:
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def opened(place: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it. Raises PlaceError, MissingPackageError."""
    scheme = scheme_of(check_place(place))
    assert scheme is not None
    try:
        importlib.import_module(PACKAGES[scheme])
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingPackageError(
            f'{scheme}:// needs the package {error.name}; run `pip install "vesal[cluster]"`.'
        ) from error
    _quiet()
    system, path = url_to_fs(
        f"{scheme}://{place.partition('://')[2]}", **(_web_options() if scheme in READ_ONLY else {})
    )
    return system, path


@cache
def _web_options() -> dict[str, Any]:
    """A scan may take longer than the five minutes of aiohttp; a server that sends nothing is given up."""
    from aiohttp import ClientTimeout

    return {
        "client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)}
    }


def read_bytes(place: str) -> bytes | None:
    """The content of a small file; None where there is none. Raises what the system or the store raises."""
    if (path := local_path(place)) is not None:
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    system, inside = opened(place)
    try:
        content: bytes = patiently(lambda: system.cat_file(inside))
    except FileNotFoundError:
        return None
    return content


def write_bytes(place: str, content: bytes) -> None:
    """Write a small file whole: under another name first, or as one object of a store."""
    if (path := local_path(place)) is not None:
        with replacing(path) as file:
            file.write(content)
        return
    system, inside = opened(place)
    patiently(lambda: system.pipe_file(inside, content))


def fetch(place: str, target: Path) -> None:
    """Bring a remote file, or all of a folder of a store, here.

    Raises UnreadableFileError where there is nothing, or the store says no; what it raises otherwise.
    """
    system, inside = opened(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if place.endswith("/"):
            for path in patiently(lambda: system.find(inside)):
                parts = path[len(inside.rstrip("/")) :].strip("/").split("/")
                if ".." in parts:
                    raise PlaceError(f"{shown(place)} holds a file named {parts}, which leads out of it.")
                below = target.joinpath(*parts)
                below.parent.mkdir(parents=True, exist_ok=True)
                patiently(partial(system.get_file, path, str(below)))
        else:
            patiently(partial(system.get_file, inside, str(target)))
    except FileNotFoundError:
        raise UnreadableFileError(f"{shown(place)} does not exist; give the URL of a scan.") from None
    except Exception as error:
        if not isinstance(error, PermissionError) and getattr(error, "status", None) not in REFUSED:
            raise
        raise UnreadableFileError(
            f"{shown(place)} may not be read ({type(error).__name__}: {redacted(str(error))}); give what its "
            "store asks for in the environment, or a signed URL that still holds."
        ) from None
    if not os.path.lexists(target):
        raise UnreadableFileError(f"{shown(place)} does not exist, or holds nothing; give the URL of a scan.")


def put(source: Path, place: str) -> None:
    """Put a file into a store, whole."""
    system, inside = opened(place)
    patiently(lambda: system.put_file(str(source), inside))


def facts_of(place: str) -> Mapping[str, Any] | None:
    """What a store tells of a file now, and not from a listing that it keeps; None where there is none."""
    system, inside = opened(place)
    with suppress(Exception):
        system.invalidate_cache()
    try:
        facts: Mapping[str, Any] = patiently(lambda: system.info(inside))
    except FileNotFoundError:
        return None
    return facts


def is_there(place: str) -> bool:
    """Whether there is such a file; also where a store does not tell."""
    if (path := local_path(place)) is not None:
        return path.is_file()
    with suppress(Exception):
        return facts_of(place) is not None
    return True


def mark_of(facts: Mapping[str, Any]) -> str | None:
    """What proves the content of a remote file without fetching it; None where its store tells no digest."""
    by_name = {str(name).lower(): value for name, value in facts.items()}
    told = [f"{name} {by_name[name]}" for name in STRONG if by_name.get(name)]
    if not told:
        return None
    return hashlib.sha256(f"{by_name.get('size')} {told}".encode()).hexdigest()


def size_of(place: str) -> int:
    """Bytes of a file; 0 where they are not told."""
    if (path := local_path(place)) is not None:
        return path.stat().st_size
    return int((facts_of(place) or {}).get("size") or 0)


def find(folder: str) -> Iterator[tuple[str, int]]:
    """All files below a folder of a store, sorted, as URLs with their sizes in bytes."""
    system, inside = opened(folder)
    yield from _urls(system, folder, system.find(inside, detail=True))


def match(pattern: str) -> Iterator[tuple[str, int]]:
    """All files of a store that fit a pattern (``*``, ``**``, ``?``, ``[]``), as `find`."""
    system, inside = opened(pattern)
    yield from _urls(system, pattern, system.glob(inside, detail=True))


def _urls(system: Any, like: str, found: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, int]]:
    scheme = like.partition("://")[0]
    for path, facts in sorted(found.items()):
        if facts.get("type") != "directory":
            plain = system.unstrip_protocol(path).partition("://")[2]
            yield f"{scheme}://{plain}", int(facts.get("size") or 0)
