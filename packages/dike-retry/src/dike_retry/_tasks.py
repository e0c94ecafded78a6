"""The running task, without the system call that asking for it makes on Python 3.11."""

import asyncio
import sys
from typing import Any

if sys.version_info >= (3, 12):  # pragma: no cover
    from asyncio import current_task as current_task
else:  # pragma: no cover
    _current_tasks: dict[object, asyncio.Task[Any]] = vars(asyncio.tasks)["_current_tasks"]

    def current_task() -> "asyncio.Task[Any] | None":
        """Return the running task.

        `asyncio.current_task` of Python 3.11 asks the system for the process id each time, in case of a fork, and that
        takes longer than all else that a failure costs here. If one task is running in all threads, it is this one.
        """
        try:
            (task,) = _current_tasks.values()
        except ValueError:
            return asyncio.current_task()
        return task
