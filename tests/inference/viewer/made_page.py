"""A page without a network: a made case, a model that finds what is bright, and requests to the server."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.errors import CancelledError
from vesal.inference.data.orientation import STORED
from vesal.inference.data.prompt import ModalityChoice, Prompt
from vesal.inference.data.results import PromptResult
from vesal.inference.viewer.server import PageServer
from vesal.inference.viewer.session import Session

SHAPE = (6, 8, 10)
BRIGHT = (slice(1, 3), slice(2, 4), slice(7, 10))
SAFETY_S = 60.0
"""Turns a test that would wait for ever into one that fails."""
ASSETS = {"": (b"<!doctype html>", "text/html; charset=utf-8"), "viewer.js": (b"//", "text/javascript")}


def made_case(**fields: Any) -> Case:
    """A case of `SHAPE` with one bright part, towards the end of W."""
    image = np.zeros(SHAPE, np.uint8)
    image[BRIGHT] = 200
    return Case("made", image, (5.0, 2.0, 1.0), {}, False, None, (), **fields)


@dataclass
class BrightModel:
    """Finds the voxels above 100; waits in the middle of a run where it is told to, and keeps its cases."""

    go_on: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    cases: list[Case] = field(default_factory=list)
    error: Exception | None = None

    def understand(self, case: Case, modality: str | None) -> tuple[tuple[Prompt, ...], ModalityChoice]:
        """Every sentence is a target of its own name."""
        prompts = tuple(Prompt(i, text, "CT", (), "term", None, "") for i, text in case.sentences.items())
        return prompts, ModalityChoice("CT", "caller", "")

    def segment_case(self, case: Case, prompts: Any, progress: Callable[[Any], bool]) -> Any:
        """One window, then the result."""
        self.cases.append(case)
        self.begun.set()
        assert self.go_on.wait(SAFETY_S)
        if self.error is not None:
            raise self.error
        if not progress(SimpleNamespace(stage="coarse", windows=1, planned=2, seconds=0.5)):
            raise CancelledError("stopped")
        mask = case.image > 100
        rows = {
            p.id: PromptResult(p.id, p.text, None, "CT", "term", "", True, int(mask.sum()), 1.0, 0.9)
            for p in prompts
        }
        return SimpleNamespace(
            prompts=rows, fallbacks=[], notes=(), orientation=STORED, mask=lambda prompt_id: mask
        )


@dataclass
class Page:
    """A server that runs, its session and its model."""

    server: PageServer
    session: Session
    model: BrightModel
    thread: threading.Thread

    def ask(
        self, path: str, method: str = "GET", body: Any = None, *, whole: bool = False, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of an answer; ``path`` is behind the token unless it is ``whole``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=SAFETY_S)
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        given = {"Content-Type": "application/json"} if body is not None else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(
            method, path if whole else f"/{self.server.token}/{path}", skip_host="Host" in given
        )
        if content is not None and "Content-Length" not in given:
            given["Content-Length"] = str(len(content))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        found = answer.status, answer.read(), dict(answer.getheaders())
        connection.close()
        return found

    def state(self) -> Any:
        """What the page shows."""
        return json.loads(self.ask("state")[1])
