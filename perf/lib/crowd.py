"""Clients that take up room: `srpd-bench crowd`, below everything else on its CPU (SCHED_IDLE)."""

import json
import select
import subprocess

from . import processes

SECONDS_MAX = 120


class Crowd:
    """So many connections to an instance, until they leave."""

    def __init__(self, options, instance, manner, connections, *more):
        command = [
            "chrt", "--idle", "0", "taskset", "-c", processes.OTHER_CPU, options.bench, "crowd", "--to",
            instance.address, "--manner", manner, "--connections", connections, *instance.trust(), *instance.header,
            *more,
        ]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.STARTED.append(self.process)
        self.figures()  # when everybody has tried to take a place

    def figures(self):
        # Not select(2): its descriptors end at 1024, and a hung provider holds as many.
        waiting = select.poll()
        waiting.register(self.process.stdout, select.POLLIN)
        line = self.process.stdout.readline() if waiting.poll(SECONDS_MAX * 1000) else ""
        if not line:
            raise processes.Failed("the crowd did not come")
        return json.loads(line)

    def ask(self):
        """How many hold a place now, how many were sent away so far, bytes that came."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.figures()

    def leave(self):
        """All at once. Returns when they have gone."""
        self.process.stdin.close()
        self.process.wait()
        processes.STARTED.remove(self.process)
