"""The time that tests hold code to: that of the processor, since the clock runs on while other programs work.

The least of several runs counts, as what else the machine does only ever adds to it.
"""

import subprocess
import sys
import time
from collections.abc import Callable


def least_seconds(function: Callable[[], object], runs: int = 3) -> float:
    """Processor time of the quickest of some calls, all threads of this process counted."""
    times = []
    for _ in range(runs):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def least_seconds_of_python(*arguments: str, runs: int = 5) -> float:
    """Processor time of the quickest of some runs of the interpreter with these arguments."""
    import resource

    times = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)
