"""The emulator, judged by those who have seen the real API's traffic."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA
from tests.fakes.linode import serve

FACTS = SHARED_DATA.parent / "linode"


def test_the_contract_holds(tmp_path: Path) -> None:
    if not (FACTS / "contract_check.py").exists():
        pytest.skip("the contract of the Linode API is not at hand: it is not part of the project")
    with serve(tmp_path) as emulator:
        checker = [sys.executable, str(FACTS / "contract_check.py"), "--strict"]
        spec = ["--spec", str(FACTS / "spec-observed.json")]
        where = ["--base-url", emulator.url, "--token", emulator.token]
        done = subprocess.run(
            [*checker, *spec, *where], capture_output=True, text=True, timeout=120, check=False
        )
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert not failures, done.stderr
    assert " 0 failed" in done.stdout
    assert not emulator.state.complaints
