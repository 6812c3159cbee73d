"""The runner that keeps Lava in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from rmaat_lava.child import LavaError, run_in_child
from rmaat_lava.shim import LAVA_VERSION, lava_version

pytestmark = [
    pytest.mark.needs_lava,
    pytest.mark.skipif(lava_version() != LAVA_VERSION, reason=f"lava-nc {LAVA_VERSION} is not installed"),
]
JOBS = Path(__file__).parent / "jobs"


@pytest.fixture(autouse=True)
def jobs_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(JOBS), prepend=os.pathsep)


@pytest.fixture
def clean():
    """Fails if a run leaves shared memory or processes behind that were not there before."""
    shared, mine = _shared_memory(), set(psutil.Process().children(recursive=True))
    yield
    left = _shared_memory() - shared  # taken once: other runs beside this one come and go
    deadline = time.monotonic() + 15  # the resource tracker unlinks after the last process has gone
    while time.monotonic() < deadline and (_workers() or (left := _owned(left & _shared_memory()))):
        time.sleep(0.1)
    assert set(psutil.Process().children(recursive=True)) <= mine
    assert _workers() == []
    assert left == set()


def _shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def _owned(names: set[str]) -> set[str]:
    """Lava's segments that no living process maps: other test workers may be running Lava beside this one."""
    mapped = ""
    for process in psutil.process_iter():
        try:
            mapped += Path(f"/proc/{process.pid}/maps").read_text()
        except OSError:
            continue
    return {name for name in names if name.startswith("psm_") and name not in mapped}


def _workers() -> list[int]:
    """Children of this test process that run `rmaat_lava.worker`, or orphans of such a one."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if "rmaat_lava.worker" in " ".join(process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("PYTEST_CURRENT_TEST") == os.environ["PYTEST_CURRENT_TEST"]
    ]


def test_child_runs_the_code_of_its_caller(clean, tmp_path, monkeypatch):
    """Not a copy that the environment names; scripts beside the caller's and in the working folder hide nothing."""
    copy = tmp_path / "elsewhere" / "rmaat_lava"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text("raise ImportError('another copy')")
    for name in ("lava.py", "json.py"):
        (tmp_path / name).write_text("raise ImportError('hides a package')")
    monkeypatch.setenv("PYTHONPATH", f"{copy.parent}{os.pathsep}{JOBS}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    outputs = run_in_child("lava_jobs:ramp", {"offset": np.zeros(3)}, _settings(), time_limit=120)
    np.testing.assert_array_equal(outputs["total"], 55)


def _settings(**changes):
    return {"steps": 10, "fail_at": -1, "sleep": 0.0} | changes


def test_outputs_come_back(clean):
    offset = np.arange(3)
    outputs = run_in_child("lava_jobs:ramp", {"offset": offset}, _settings(), time_limit=60)
    np.testing.assert_array_equal(outputs["total"], 55 + offset)


@pytest.mark.parametrize("job", ["ramp", "alone"])
def test_exception_in_a_process_model_comes_back_as_a_traceback(job, clean):
    """Within 5 s of the exception; the monotonic clock that the process model reads is the machine's."""
    with pytest.raises(LavaError, match=r"(?s)run_spk.*ZeroDivisionError: the ramp broke at") as caught:
        run_in_child(f"lava_jobs:{job}", {"offset": np.zeros(3)}, _settings(fail_at=5), time_limit=60)
    broke = float(re.findall(r"the ramp broke at ([\d.]+)$", str(caught.value), re.MULTILINE)[-1])
    assert 0 < time.monotonic() - broke < 5


def test_exception_outside_a_process_model_comes_back(clean):
    with pytest.raises(LavaError, match="KeyError: 'no network'"):
        run_in_child("lava_jobs:broken", {}, {}, time_limit=60)


def test_time_limit_ends_the_run(clean):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="within 4 s"):
        run_in_child("lava_jobs:ramp", {"offset": np.zeros(3)}, _settings(sleep=60.0), time_limit=4)
    assert time.monotonic() - start < 12


def test_a_worker_that_was_killed_says_so(clean):
    """The job ends its own interpreter as the kernel does when memory runs out."""
    with pytest.raises(LavaError, match="ended by signal 9"):
        run_in_child("lava_jobs:killed", {}, {}, time_limit=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_caller_leaves_nothing(number, clean):
    script = textwrap.dedent("""
        import numpy as np
        from rmaat_lava.child import run_in_child
        print("go", flush=True)
        run_in_child("lava_jobs:ramp", {"offset": np.zeros(3)}, {"steps": 10, "fail_at": -1, "sleep": 60.0}, 120)
    """)
    caller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert caller.stdout.readline() == "go\n"
    deadline = time.monotonic() + 30
    while len(_workers()) < 4 and time.monotonic() < deadline:  # interpreter, manager, two process models
        time.sleep(0.1)
    assert len(_workers()) >= 4
    caller.send_signal(number)
    _, errors = caller.communicate(timeout=20)
    assert caller.returncode != 0
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in errors


BEFORE = {
    "spawn": """multiprocessing.set_start_method("spawn")""",
    "DataLoader workers": """
import torch
loader = torch.utils.data.DataLoader(torch.arange(8), batch_size=4, num_workers=2)
assert torch.cat(list(loader)).tolist() == list(range(8))
""",
    "a pool that is open": """
pool = multiprocessing.get_context("fork").Pool(1)
assert pool.apply(abs, (-3,)) == 3
""",
    "a notebook's running loop": """
import asyncio
plain = run
async def cell():
    return plain()
run = lambda: asyncio.run(cell())
""",
}


@pytest.mark.parametrize("before", BEFORE)
def test_caller_may_have_used_multiprocessing_in_any_way(before, clean):
    """Lava's outputs come, the start method is as it was, and Lava is not imported into the caller."""
    script = f"""
import multiprocessing, sys
import numpy as np
from rmaat_lava.child import run_in_child
def run():
    settings = {{"steps": 4, "fail_at": -1, "sleep": 0.0}}
    return run_in_child("lava_jobs:ramp", {{"offset": np.zeros(3)}}, settings, 60)
{BEFORE[before]}
method = multiprocessing.get_start_method(allow_none=True)
outputs = run()
assert multiprocessing.get_start_method(allow_none=True) == method
assert not any(name.startswith("lava.") for name in sys.modules)
print(outputs["total"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90)
    assert done.stdout.strip() == "[10. 10. 10.]", done.stderr
