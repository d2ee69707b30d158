"""An ingress for each test, with the manifests that most tests use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene, start_ingress


@pytest.fixture(scope="session")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture
async def open_scene(tmp_path: Path, certificate_folder: Path) -> AsyncIterator[OpenScene]:
    """Give a function that starts an ingress; all of them end with the test."""
    scenes: list[Scene] = []

    async def open_one(
        manifests: str = MANIFESTS, *, tls: Path = certificate_folder, **options: object
    ) -> Scene:
        scene = await start_ingress(tls=tls, **options)  # type: ignore[arg-type]
        scenes.append(scene)
        if manifests:
            await scene.configure(manifests, tmp_path)
        return scene

    with capture_logs() as lines:
        yield open_one
        for scene in scenes:
            await scene.end()
    # No test here may provoke an error nobody planned.
    assert not [line for line in lines if line.get("exc_info")]


@pytest.fixture
async def scene(open_scene: OpenScene) -> Scene:
    return await open_scene()


@pytest.fixture
async def peer(scene: Scene) -> SmtpPeer:
    return await scene.peer()
