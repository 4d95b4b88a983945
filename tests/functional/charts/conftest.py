from __future__ import annotations

import pytest
from tests.helm import Helm, program


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(program("helm"), tmp_path_factory.mktemp("helm"))
