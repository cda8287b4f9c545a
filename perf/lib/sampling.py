"""Where a contestant's CPU goes under a workload: perf(1)."""

import pathlib
import shutil
import signal
import subprocess
import tempfile

from . import contestants, processes, workloads

SAMPLES_PER_SECOND = 4999
STACK_BYTES = 16384  # of each sample: stacks are unwound by the tables that panics need, not by frame pointers


def arguments(parser):
    parser.add_argument("--contestant", default="srpd", choices=[one.name for one in contestants.EVERYBODY[1:]],
                        metavar="NAME", help="srpd (the default), srpd-log, forwarder, nginx …: see perf/compare")
    parser.add_argument("--workload", default="call", choices=[one.name for one in workloads.every()], metavar="NAME",
                        help="call (the default), stream-5ms …: see perf/compare; not start, not memory")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--keep", help="where to leave perf's data")
    parser.add_argument("--srpd", default=str(processes.ROOT / "target/release/srpd"))
    parser.add_argument("--bench", default=str(processes.ROOT / "target/release/srpd-bench"))


def sampled(options, graph, show):
    """Puts the contestant under the workload, samples it, and shows the data and the figures."""
    [contestant] = [one for one in contestants.EVERYBODY if one.name == options.contestant]
    [workload] = [one for one in workloads.every() if one.name == options.workload]
    if not workload.takes(contestant) and contestant.name != "srpd-log":
        raise SystemExit(f"{contestant.name} takes no part in {workload.name}")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="srpd-sampling-"))
    data = options.keep or str(directory / "perf.data")
    try:
        field = contestants.Field(options, directory)
        pids = ",".join(map(str, field.instance(contestant, workload.variant).pids()))
        sampler = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_SECOND), *graph, "-p", pids, "-o", data]
        )
        processes.STARTED.append(sampler)
        figures = workload.measure(field, contestant, options.seconds)
        sampler.send_signal(signal.SIGINT)
        sampler.wait()
        show(data, figures)
    except processes.Failed as reason:
        raise SystemExit(str(reason)) from reason
    finally:
        processes.stop_all()
        shutil.rmtree(directory)
