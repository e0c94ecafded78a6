"""The demo runs to its end, measures, and leaves nothing running."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "examples" / "demo"
ROW = re.compile(r"^\| (\S.*?) *\| +([\d,.]+)(?: ms)? \| +([\d,.]+)(?: ms)? \|$", re.M)

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(sys.platform == "win32", reason="interrupts and lists processes as POSIX does"),
]


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, DEMO, *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def servers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until the demo has started both of its servers."""
    while len(servers := psutil.Process(process.pid).children()) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return servers


def test_the_demo_prints_a_table_of_what_it_measured_and_saves_a_picture(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "1.5") as process:
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed

    rows = ROW.findall(printed)
    assert [name for name, *_ in rows] == [name for name, *_ in ROW.findall((ROOT / "README.md").read_text())]

    figures = {name: [float(figure.replace(",", "")) for figure in columns] for name, *columns in rows}
    plain, guarded = ({name: columns[i] for name, columns in figures.items()} for i in (0, 1))
    assert plain["requests"] == guarded["requests"] > 100
    assert plain["shed with 503"] == 0
    assert plain["mean batch size"] == 1
    assert guarded["mean batch size"] > 1
    for run in (plain, guarded):
        assert 0 < run["p50 of the answers"] <= run["p99 of the answers"]
        assert run["calls of the model"] > 0
        assert run["answered per second"] * 1.5 + run["errors"] + run["shed with 503"] == pytest.approx(
            run["requests"], abs=1
        )

    picture = tmp_path / "demo.png"
    assert f"Latency over time: {picture}" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("stage", ["while starting", "under load"])
def test_ctrl_c_ends_the_demo_and_its_servers(tmp_path: Path, stage: str) -> None:
    with demo(tmp_path) as process:
        servers = servers_of(process)
        if stage == "under load":
            time.sleep(3)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 130, printed
    assert not any(server.is_running() for server in servers)


def test_the_servers_end_even_when_the_demo_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        servers = servers_of(process)
        process.kill()
    _, there = psutil.wait_procs(servers, timeout=10)
    assert all(server.status() == psutil.STATUS_ZOMBIE for server in there)
