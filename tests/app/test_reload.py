"""Hot reload: a model published while the service runs is served next, without a failed request."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from hm_utils.serving import trial
from hm_utils.serving.bundle import BundleError
from tests.helpers.files import write_over
from tests.helpers.live import ADMIN_KEY, KEY, Client, Fake, load_fake, publish_fake, running, settings, wait_for

WITH_KEY = {"X-API-Key": KEY}


def ready(client: TestClient) -> Any:
    return client.get("/ready").json()


def reload(client: TestClient) -> Any:
    return client.post("/admin/reload", headers={"X-API-Key": ADMIN_KEY})


def test_no_request_fails_and_every_answer_is_of_one_version(tmp_path: Path) -> None:
    published = [publish_fake(tmp_path)]
    answers: list[tuple[int, Any]] = []
    stop = threading.Event()

    def load(port: int) -> None:
        with Client(port) as client:
            while not stop.is_set():
                answers.append(client.recommend()[:2])

    app = create_app(tmp_path / "model", load_fake, settings(reload_seconds=0.02))
    with running(app) as port, Client(port) as client:
        threads = [threading.Thread(target=load, args=(port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                enough = len(answers) + 20
                wait_for(lambda: len(answers) >= enough)  # noqa: B023 - called at once
                published.append(publish_fake(tmp_path))
                newest = {"status": "ready", "version": published[-1], "data_until": "2020-09-22"}
                wait_for(lambda: client.ask("GET", "/ready")[1] == newest)  # noqa: B023
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    numbers = {Fake(version).number for version in published}
    seen = set()
    for code, body in answers:
        assert code == 200
        items = body["recommendations"]
        (number,) = {int(item["article_id"][:4]) for item in items} | {int(item["score"]) for item in items}
        seen.add(number)
    assert len(seen) >= 8
    assert seen <= numbers


def test_the_service_starts_without_a_model_and_takes_the_first(tmp_path: Path) -> None:
    with TestClient(create_app(tmp_path / "model", load_fake, settings(reload_seconds=0.02))) as client:
        assert "make run" in ready(client)["detail"]
        version = publish_fake(tmp_path)
        wait_for(lambda: ready(client).get("version") == version)


def test_a_broken_model_is_refused_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = publish_fake(tmp_path)
    loads = threading.Semaphore(0)

    def load(path: Path) -> Fake:
        loads.release()
        return load_fake(path)

    with (
        caplog.at_level(logging.INFO),
        TestClient(create_app(tmp_path / "model", load, settings(reload_seconds=0.02))) as client,
    ):
        loads.acquire()
        broken = tmp_path / "models" / "broken"
        broken.mkdir()
        beside = tmp_path / "beside"
        beside.symlink_to(broken)
        beside.replace(tmp_path / "model")
        assert loads.acquire(timeout=20)
        assert not loads.acquire(timeout=0.3), "the next poll read the same broken model again"
        wait_for(lambda: f"model {old} is still served" in caplog.text)
        assert caplog.text.count("manifest.json is missing") == 1
        assert ready(client)["version"] == old
        new = publish_fake(tmp_path)
        wait_for(lambda: ready(client)["version"] == new)


def test_a_service_that_starts_beside_a_broken_model_serves_the_newest_other(tmp_path: Path) -> None:
    """Such as a worker that died of it."""
    broken = [publish_fake(tmp_path) for _ in range(3)]
    oldest = broken.pop(0)
    for version in broken:
        (tmp_path / "models" / version / "weights.bin").unlink()
    with TestClient(create_app(tmp_path / "model", load_fake, settings(reload_seconds=0.02))) as client:
        assert ready(client)["version"] == oldest
        assert client.post("/recommend", headers=WITH_KEY, json={"customer_id": "a" * 64}).status_code == 200
        new = publish_fake(tmp_path)
        wait_for(lambda: ready(client)["version"] == new)


def test_a_model_is_tried_in_another_process_before_the_service_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_fake(tmp_path)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(trial.sys, "executable", str(python))
    with TestClient(create_app(tmp_path / "model", settings=settings())) as client:
        assert "ends the process that opens it (SIGSEGV)" in ready(client)["detail"]
        assert client.get("/health").status_code == 200


def test_a_pinned_version_is_served_and_new_ones_are_not_taken(tmp_path: Path) -> None:
    versions = [publish_fake(tmp_path) for _ in range(2)]
    pinned = settings(reload_seconds=0.01, model=tmp_path / "model", model_version=versions[0])
    with TestClient(create_app(load=load_fake, settings=pinned)) as client:
        assert ready(client)["version"] == versions[0]
        publish_fake(tmp_path)
        assert reload(client).json() == {"result": "unchanged", "version": versions[0]}
    gone = settings(model=tmp_path / "model", model_version="20260120T101530.123456Z-1f2e3d4c")
    with TestClient(create_app(load=load_fake, settings=gone)) as client:
        assert client.get("/ready").status_code == 503


def test_the_problem_names_no_folder(tmp_path: Path) -> None:
    def load(path: Path) -> Fake:
        raise BundleError(path, f"cannot be opened ({path}/log/log.json is not JSON)")

    with TestClient(create_app(tmp_path, load, settings())) as client:
        assert ready(client) == {"detail": "cannot be opened (log/log.json is not JSON)"}


def test_a_refused_model_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_fake(tmp_path)
    tries = 0

    def load(path: Path) -> Fake:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise BundleError(path, "is still being copied")
        return load_fake(path)

    monkeypatch.setattr("app.serving.reload.FIRST_RETRY", 0.01)
    with TestClient(create_app(tmp_path / "model", load, settings(reload_seconds=0.01))) as client:
        assert ready(client) == {"detail": "is still being copied"}
        wait_for(lambda: "version" in ready(client))


def test_an_operator_can_trigger_a_reload(tmp_path: Path) -> None:
    old = publish_fake(tmp_path)
    with TestClient(create_app(tmp_path / "model", load_fake, settings())) as client:
        assert reload(client).json() == {"result": "unchanged", "version": old}
        new = publish_fake(tmp_path)
        assert reload(client).json() == {"result": "loaded", "version": new}
        weights = tmp_path / "models" / publish_fake(tmp_path) / "weights.bin"
        write_over(weights, b"altered")
        for _ in range(2):
            answer = reload(client)
            assert answer.status_code == 409
            assert answer.json()["detail"].startswith("weights.bin was altered")
        assert str(tmp_path) not in answer.text
        assert ready(client)["version"] == new
        write_over(weights, b"w" * 1_000)
        assert reload(client).json()["result"] == "loaded"


def test_the_service_answers_while_a_model_is_loaded(tmp_path: Path) -> None:
    old = publish_fake(tmp_path)
    loading, go_on = threading.Event(), threading.Event()
    go_on.set()

    def load(path: Path) -> Fake:
        loading.set()
        assert go_on.wait(20)
        return load_fake(path)

    with running(create_app(tmp_path / "model", load, settings(reload_seconds=0.02))) as port, Client(port) as client:
        loading.clear()
        go_on.clear()
        new = publish_fake(tmp_path)
        assert loading.wait(20)
        assert client.recommend()[0] == 200
        assert client.ask("GET", "/ready")[1]["version"] == old
        go_on.set()
        wait_for(lambda: client.ask("GET", "/ready")[1]["version"] == new)


def test_the_old_model_is_freed_with_its_last_request(tmp_path: Path) -> None:
    loaded: list[weakref.ref[Fake]] = []

    def load(path: Path) -> Fake:
        fake = load_fake(path)
        loaded.append(weakref.ref(fake))
        return fake

    publish_fake(tmp_path)
    app = create_app(tmp_path / "model", load, settings())
    with TestClient(app) as client:
        held = app.state.serving.recommender  # like a request in progress
        for _ in range(50):
            publish_fake(tmp_path)
            assert client.post("/recommend", headers=WITH_KEY, json={"customer_id": "a" * 64}).status_code == 200
            assert reload(client).json()["result"] == "loaded"
        gc.collect()
        assert len(loaded) == 51
        assert [reference() is not None for reference in loaded] == [True] + [False] * 49 + [True]
        assert held is loaded[0]()
        del held
        gc.collect()
        assert loaded[0]() is None
