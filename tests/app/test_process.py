"""`demandcast app` as a process: it says where it is, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from demandcast.cli.main import main


def test_the_app_says_where_it_is_and_leaves_nothing_behind(tmp_path: Path) -> None:
    table = tmp_path / "sales.csv"
    table.write_text("date,units\n" + "".join(f"2024-01-{d:02},{d}\n" for d in range(1, 29)))
    (tmp_path / "temporary").mkdir()
    words = [sys.executable, "-m", "demandcast", "app", str(table), "--no-browser"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        first = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32,}/", first)
        assert found is not None, first
        assert b"Open a table of demand" in urlopen(found[0], timeout=30).read()
        folder = next((tmp_path / "temporary").glob("demandcast-app-*"))
        assert folder.stat().st_mode & 0o077 == 0  # nobody else may look
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert "removed" in process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
    assert list((tmp_path / "temporary").glob("demandcast-app-*")) == []
    assert table.exists()


def test_a_table_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "nowhere.csv", "--no-browser"]) == 2
    assert "nowhere.csv is no file" in capsys.readouterr().err
