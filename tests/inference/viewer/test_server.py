"""The server of a page gives nothing to whoever lacks the URL, and nothing but the page to who has it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable

import pytest

from tests.inference.viewer.made_page import BRIGHT, SAFETY_S, SHAPE, Page, made_case
from vesal.inference.data.orientation import CANONICAL
from vesal.inference.data.user_prompts import Point, VoxelBox
from vesal.inference.families.contract import Capabilities
from vesal.inference.viewer.assets import FILES
from vesal.inference.viewer.server import MAX_BODY

EVERYTHING = Capabilities(boxes=True, points=True, unnamed=True)


def stream(page: Page) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """An open stream of events; a page has one as long as its tab is open."""
    connection = http.client.HTTPConnection("127.0.0.1", page.server.server_port, timeout=SAFETY_S)
    connection.request("GET", f"/{page.server.token}/events")
    answer = connection.getresponse()
    assert answer.readline() == b": open\n"
    return connection, answer


def next_event(answer: http.client.HTTPResponse, kind: str) -> dict[str, object]:
    """The next event of a kind."""
    while True:
        line = answer.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: ") and (event := json.loads(line[6:]))["kind"] == kind:
            return dict(event)


@pytest.mark.parametrize(
    "path", ["/", "/{wrong}/", "/{wrong}/state", "/state", "/image.nii", "//", "/{token}x/state"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_the_token_there_is_nothing(page: Page, path: str, method: str) -> None:
    wrong = "a" * len(page.server.token)
    asked = path.format(wrong=wrong, token=page.server.token)
    status, content, _ = page.ask(asked, method, {} if method == "POST" else None, whole=True)
    assert status == 403
    assert page.server.token.encode() not in content


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "../server.py",
        "..%2fserver.py",
        "%2e%2e/%2e%2e/pyproject.toml",
        "/etc/passwd",
        "//etc/passwd",
        "page/",
        "vendor/LICENSE",
        "viewer.js/",
        "..\\server.py",
        "viewer.js%00",
    ],
)
def test_no_other_file_is_reached(page: Page, path: str) -> None:
    assert page.ask(path)[0] == 404
    assert page.ask(path, "POST", {})[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "0.0.0.0:{port}"]
)
def test_a_host_that_was_made_to_point_here_is_refused(page: Page, host: str) -> None:
    """A page elsewhere may have its own name resolved to 127.0.0.1."""
    named = host.format(port=page.server.server_port)
    assert page.ask("state", Host=named)[0] == 403
    assert page.ask("run", "POST", {"text": "liver"}, Host=named)[0] == 403
    assert page.ask("state", Host=f"localhost:{page.server.server_port}")[0] == 200


def test_only_the_loopback_is_bound(page: Page) -> None:
    assert page.server.socket.getsockname()[0] == "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # sends nothing: tells which address this machine has
            own = asked.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but the loopback's")
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(5)
        other.connect((own, page.server.server_port))


def test_each_page_has_a_token_of_its_own(make_page: Callable[..., Page]) -> None:
    tokens = {make_page().server.token for _ in range(3)}
    assert len(tokens) == 3 and all(len(token) >= 32 for token in tokens)


def test_nothing_from_elsewhere_is_allowed_in_the_page(page: Page) -> None:
    for path in ("", "state", "nothing"):
        policy = page.ask(path)[2]["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert not {word for word in ("http:", "https:", "*", "unsafe", "ws:") if word in policy}


def test_the_page_names_no_address() -> None:
    """Its files load nothing of the network, and the server's policy would not let them."""
    for name, (path, _) in FILES.items():
        if name not in ("niivue.js", "licence.txt"):
            assert "http" not in path.read_text(encoding="utf-8").replace('href="licence.txt"', ""), name


def test_a_request_of_another_page_is_refused(page: Page) -> None:
    wanted = {"text": "liver"}
    assert page.ask("run", "POST", wanted, Origin="http://evil.example")[0] == 403
    assert page.ask("run", "POST", wanted, Origin="null")[0] == 403
    assert page.ask("run", "POST", b"text=liver", Content_Type="application/x-www-form-urlencoded")[0] == 415
    assert page.model.cases == []


@pytest.mark.parametrize(
    ("length", "status"),
    [(str(MAX_BODY + 1), 413), ("99999999999999", 413), ("-1", 411), ("x", 411), ("²", 411)],
)
def test_a_body_that_is_too_long_is_not_read(page: Page, length: str, status: int) -> None:
    given = {"Content-Length": length.encode("latin-1").decode("latin-1")}
    assert page.ask("run", "POST", b"{}", **given)[0] == status


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (b"{", "UsageError"),
        (b"[]", "UsageError"),
        (b"[" * 20000, "UsageError"),
        ({"text": "liver", "file": "/etc/passwd"}, "UsageError"),
        ({"text": 3}, "PromptTextError"),
        ({"text": "  "}, "PromptTextError: there is nothing to run"),
        ({"text": "x" * 60000}, "SentenceLengthError"),
        ({"text": "liver", "points": [[0, 0]]}, "PointError"),
        ({"text": "liver", "points": [[99, 0, 0, 1]]}, "PointError"),
        ({"text": "liver", "boxes": [[0, 0, 0, 0, 1, 1]]}, "BoxError"),
        ({"text": "liver", "points": [[0, 0, 0, 1]]}, "UserPromptError: these weights take no points"),
    ],
)
def test_what_cannot_be_run_is_a_named_error(
    make_page: Callable[..., Page], wanted: object, says: str
) -> None:
    page = make_page(can=Capabilities(boxes=True))
    status, content, _ = page.ask("run", "POST", wanted)
    assert status == 400
    assert says in json.loads(content)["error"]


def test_a_run_adds_a_label_and_tells_how_it_goes(page: Page) -> None:
    connection, events = stream(page)
    assert page.ask("run", "POST", {"text": "the bright part"})[0] == 202
    assert next_event(events, "progress")["stage"] == "begin"
    assert page.model.begun.wait(SAFETY_S)
    assert page.state()["run"] is not None
    status, content, _ = page.ask("run", "POST", {"text": "another"})
    assert status == 409 and "under way" in json.loads(content)["error"]
    page.model.go_on.set()
    assert next_event(events, "done")["added"] == [1]
    state = page.state()
    assert [label["name"] for label in state["labels"]] == ["the bright part"]
    assert state["labels"][0]["voxels"] == 12 and state["run"] is None
    assert page.ask("run", "POST", {"text": "another"})[0] == 202
    assert next_event(events, "done")["added"] == [2]
    connection.close()


def test_an_error_of_a_run_reaches_the_page_by_its_name(page: Page) -> None:
    connection, events = stream(page)
    page.model.error = MemoryError("no room")
    page.model.go_on.set()
    page.ask("run", "POST", {"text": "liver"})
    assert next_event(events, "error")["error"] == "MemoryError: no room"
    page.model.error = None
    page.ask("run", "POST", {"text": "liver"})
    assert next_event(events, "done")["added"] == [1]
    connection.close()


def test_boxes_and_points_reach_the_model_on_the_axes_of_the_case(make_page: Callable[..., Page]) -> None:
    """The page shows the case with H and W reversed, so that its indices grow towards front and right."""
    page = make_page(made_case(axis_codes=CANONICAL), EVERYTHING)
    page.model.go_on.set()
    connection, events = stream(page)
    d, h, w = SHAPE
    marked = {"points": [[1, h - 1 - 2, w - 1 - 8, 1], [0, 0, 0, 0]], "boxes": [[1, h - 4, 0, 3, h - 2, 3]]}
    assert page.ask("run", "POST", marked)[0] == 202
    next_event(events, "done")
    (case,) = page.model.cases
    assert case.user.points == {1: (Point((1, 2, 8), True), Point((0, h - 1, w - 1), False))}
    start, stop = tuple(part.start for part in BRIGHT), tuple(part.stop for part in BRIGHT)
    assert case.user.boxes == {1: (VoxelBox(start, stop),)}
    connection.close()


def test_the_page_ends_with_its_last_tab(make_page: Callable[..., Page]) -> None:
    page = make_page(reload_s=0.05)
    first, second = stream(page), stream(page)
    first[1].close()
    first[0].close()
    page.thread.join(0.5)
    assert page.thread.is_alive(), "another tab is open"
    second[1].close()
    second[0].close()
    page.thread.join(SAFETY_S)
    assert not page.thread.is_alive()


def test_a_page_that_is_loaded_again_does_not_end_it(make_page: Callable[..., Page]) -> None:
    page = make_page(reload_s=SAFETY_S)
    connection, answer = stream(page)
    answer.close()
    connection.close()
    again, _ = stream(page)
    assert page.ask("state")[0] == 200
    assert page.session.events._timer is None, "it would end later"
    again.close()


def test_the_token_is_not_logged(page: Page, capfd: pytest.CaptureFixture[str]) -> None:
    page.ask("state")
    page.ask("nothing")
    told = capfd.readouterr()
    assert page.server.token not in told.out + told.err
