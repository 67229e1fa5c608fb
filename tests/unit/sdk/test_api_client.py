"""The component's HTTP client, where the answer is longer than one page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from bobrapet.sdk.api_client import HttpComponentApi
from bobrapet.sdk.credentials import find_credentials
from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.step_run_api import Refused
from tests.unit.sdk.fakes import ApiServer, FakeStepRun, kubeconfig, serve


class Pages(FakeStepRun):
    """Answers with these pages, one a request; an int is an HTTP status."""

    def __init__(self, *pages: list[str] | int) -> None:
        super().__init__()
        self.pages = list(pages)

    def get(self) -> dict[str, Any]:
        page = self.pages.pop(0)
        if isinstance(page, int):
            raise Refused(page, "the provided continue parameter is too old")
        more = {"continue": f"after {page[-1]}"} if self.pages else {}
        return {"metadata": more, "items": [{"metadata": {"name": name}} for name in page]}


def listed(server: ApiServer, tmp_path: Any) -> list[str]:
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig(server.url))
    step = StepIdentity(namespace="team-a", step_run="r-a")
    api = HttpComponentApi(find_credentials({"KUBECONFIG": str(file)}), step, timeout=30)
    try:
        return [run["metadata"]["name"] for run in api.list_story_runs("bubustack.io/started-by=r-a")]
    finally:
        api.close()


def asked(server: ApiServer) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(path).query) for _, path, _ in server.requests]


def test_a_long_list_comes_in_pages(tmp_path: Any) -> None:
    with serve(Pages(["a", "b"], ["c"])) as server:
        assert listed(server, tmp_path) == ["a", "b", "c"]
    first, second = asked(server)
    assert first == {"labelSelector": ["bubustack.io/started-by=r-a"], "limit": ["10"]}
    assert second == first | {"continue": ["after b"]}


def test_a_list_whose_rest_is_too_old_is_asked_for_again(tmp_path: Any) -> None:
    with serve(Pages(["a", "b"], 410, ["a"], ["b", "c"])) as server:
        assert listed(server, tmp_path) == ["a", "b", "c"]
    assert ["continue" in query for query in asked(server)] == [False, True, False, True]
