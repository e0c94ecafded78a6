"""Install built wheels into clean environments, as users do, and use them there."""

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

RETRY = """
import asyncio, dike_retry
attempts = []
@dike_retry.retry(attempts=2)
async def f():
    attempts.append(1)
    if len(attempts) == 1:
        raise OSError("flaky")
    return "answer"
assert asyncio.run(f()) == "answer" and len(attempts) == 2
"""
LIMIT = """
import asyncio, dike_limit
@dike_limit.limit_jobs(limit=1)
async def f():
    await asyncio.sleep(0)
async def main():
    return await asyncio.gather(f(), f(), return_exceptions=True)
assert [type(r) for r in asyncio.run(main())] == [type(None), dike_limit.TooManyCalls]
"""
BATCH = """
import asyncio, dike_batch
@dike_batch.batch(target_batch_size=3, max_waiting_time=10)
async def f(x):
    return [[len(x), item] for item in x]
async def main():
    return await asyncio.gather(f([1]), f([2, 3]))
assert asyncio.run(main()) == [[[3, 1]], [[3, 2], [3, 3]]]
"""
NO_EXTRAS = """
import asyncio
import dike_batch, dike_limit
try:
    dike_batch.batch(target_batch_size=1, max_waiting_time=1, argument_type="numpy")
except ValueError as exc:
    assert str(exc) == 'Unable to use "numpy" as argument_type because numpy is not available', exc
else:
    raise AssertionError("numpy mode without numpy")
try:
    dike_limit.SharedLimit(1, redis=lambda: None, name="x")
except ImportError as exc:
    assert "dike-limit[redis]" in str(exc), exc
else:
    raise AssertionError("SharedLimit without redis")
"""
EXTRAS = """
import asyncio, numpy, redis.asyncio
import dike, dike_limit
@dike.batch(target_batch_size=2, max_waiting_time=10, argument_type="numpy")
async def double(x):
    return x * 2
async def main():
    return await asyncio.gather(double(numpy.array([1])), double(numpy.array([2])))
assert [row.tolist() for row in asyncio.run(main())] == [[2], [4]]
dike_limit.SharedLimit(1, redis=redis.asyncio.Redis, name="x")
"""


class Environment:
    """A clean virtual environment that knows the built wheels."""

    def __init__(self, wheels: Path) -> None:
        self.path = Path(tempfile.mkdtemp())
        venv.create(self.path, with_pip=True)
        self.python = self.path / "bin" / "python"
        self.wheels = wheels

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Not from the index what is in the tree: an older `dike` is there.
        command = [self.python, "-m", "pip", "install", "--quiet", "--find-links", self.wheels, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def installed(self) -> set[str]:
        command = [self.python, "-m", "pip", "list", "--format=freeze"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {line.partition("==")[0] for line in listed.split()} - {"pip", "setuptools"}

    def run(self, code: str) -> None:
        subprocess.run([self.python, "-W", "error", "-c", code], cwd=self.path, check=True)

    def remove(self) -> None:
        shutil.rmtree(self.path)


def check(
    wheels: Path, requirement: str, *codes: str, brings: set[str], exactly: bool = True, index: bool = False
) -> None:
    environment = Environment(wheels)
    done = environment.install(*([] if index else ["--no-index"]), requirement)
    assert done.returncode == 0, done.stderr
    installed = environment.installed()
    assert installed == brings if exactly else installed >= brings, (requirement, installed)
    for code in codes:
        environment.run(code)
    environment.remove()
    print(f"{requirement}: installs {', '.join(sorted(brings))}{'' if exactly else ', ...'}, and works")


def check_unmet_range(wheels: Path, dike: Path) -> None:
    """`dike` without a sibling in its range must not install."""
    alone = Path(tempfile.mkdtemp())
    shutil.copy(dike, alone)
    environment = Environment(alone)
    done = environment.install("--no-index", "dike")
    assert done.returncode != 0
    assert "dike-" in done.stderr
    environment.remove()
    shutil.rmtree(alone)
    print("dike without siblings in its ranges: refused")


def main(files: list[str]) -> None:
    wheels = Path(tempfile.mkdtemp())
    for file in files:
        shutil.copy(file, wheels)
    three = {"dike-retry", "dike-limit", "dike-batch"}
    check(wheels, "dike-retry", RETRY, brings={"dike-retry"})
    check(wheels, "dike-limit", LIMIT, brings={"dike-limit"})
    check(wheels, "dike-batch", BATCH, brings={"dike-batch"})
    check(wheels, "dike", RETRY, LIMIT, BATCH, NO_EXTRAS, brings={"dike", *three})
    version = next(wheels.glob("dike-[0-9]*.whl")).name.split("-")[1]
    extras = {"dike", "numpy", "redis", *three}
    check(wheels, f"dike[numpy,redis]=={version}", EXTRAS, brings=extras, exactly=False, index=True)
    check_unmet_range(wheels, next(wheels.glob("dike-[0-9]*.whl")))
    shutil.rmtree(wheels)


if __name__ == "__main__":
    main(sys.argv[1:])
