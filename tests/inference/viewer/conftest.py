"""Pages that are served while a test runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.inference.viewer.browser import missing
from tests.inference.viewer.made_page import ASSETS, SAFETY_S, BrightModel, Page, made_case
from vesal.inference.api import Model
from vesal.inference.data.case import Case
from vesal.inference.families.contract import Capabilities
from vesal.inference.viewer.events import Events
from vesal.inference.viewer.server import PageServer
from vesal.inference.viewer.session import Session


@pytest.fixture
def make_page() -> Iterator[Callable[..., Page]]:
    """Makes pages that are served until the end of the test."""
    pages: list[Page] = []

    def make(
        case: Case | None = None,
        can: Capabilities | None = None,
        reload_s: float = 0.05,
        assets: object = ASSETS,
    ) -> Page:
        model = BrightModel()
        events = Events(lambda: served.server.end(), reload_s)
        session = Session(
            case or made_case(), lambda: cast(Model, model), can or Capabilities(), "made", events
        )
        server = PageServer(session, assets)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        served = Page(server, session, model, thread)
        thread.start()
        pages.append(served)
        return served

    yield make
    for page in pages:
        page.model.go_on.set()
        if page.thread.is_alive():
            page.server.end()
        page.thread.join(SAFETY_S)
        page.server.server_close()


@pytest.fixture
def page(make_page: Callable[..., Page]) -> Page:
    """One page."""
    return make_page()


@pytest.fixture(scope="session")
def niivue(root: Path) -> Path:
    """NiiVue as the build fetches it; a test that asks for it is skipped where it was not fetched."""
    path = root / "inference" / "viewer" / "vendor" / "niivue.umd.js"
    if not path.is_file():
        missing("NiiVue is not there: `python tools/vendor_niivue.py` fetches it")
    return path
