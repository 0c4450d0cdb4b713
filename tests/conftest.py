"""What several tests draw their data from; nothing here is read from outside the repository."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data():
    """Folder of real X-rays in the layouts of the real data sets, where a developer has it."""
    if not SHARED_DATA.exists():
        pytest.skip(f"real X-rays are not at {SHARED_DATA}")
    return SHARED_DATA
