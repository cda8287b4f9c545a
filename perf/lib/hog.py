"""Makes a CPU slower for everybody else on it: run as a program, with the CPU and the share of it to take.

It takes its share out of every millisecond, above all ordinary work (SCHED_FIFO; root), so that who runs
there is slow, and not stopped for long."""

import os
import sys
import time

PERIOD_NS = 1_000_000
MINE_MAX = 0.9  # the kernel leaves ordinary work 5% in any case, in pieces of 50 ms


def main():
    cpu, share = int(sys.argv[1]), float(sys.argv[2])
    if not 0 < share <= MINE_MAX:
        raise SystemExit(f"expected a share up to {MINE_MAX}")
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    mine = int(PERIOD_NS * share)
    begin = time.monotonic_ns()
    print("here", flush=True)
    while True:
        while time.monotonic_ns() < begin + mine:
            pass
        begin += PERIOD_NS
        time.sleep(max(0, begin - time.monotonic_ns()) / 1e9)


if __name__ == "__main__":
    main()
