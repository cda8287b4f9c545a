"""Servers on a CPU of their own, what they cost, and the machine that they run on."""

import atexit
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import platform
import re
import resource
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "perf/results"
TICK = os.sysconf("SC_CLK_TCK")
PROXY_CPU, OTHER_CPU = 0, 1
UPSTREAM = "127.0.0.1:9600"
START_SECONDS_MAX = 10
STARTED = []


class Failed(Exception):
    """Something that was to run did not."""


def free_address():
    """A loopback address whose port is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def is_open(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


def spawn(command, log, cpu=None, environment=None):
    """Starts a server, without waiting for it."""
    if cpu is not None:
        command = ["taskset", "-c", cpu, *command]
    process = subprocess.Popen(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        env=None if environment is None else {**os.environ, **environment},
    )
    STARTED.append(process)
    return process


def start(command, log, address, cpu=None, environment=None, seconds_max=START_SECONDS_MAX):
    """Starts a server and waits until it accepts. Raises Failed, with the end of its log, if it doesn't."""
    process = spawn(command, log, cpu, environment)
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline and process.poll() is None:
        if is_open(address):
            return process
        time.sleep(0.02)
    stop(process)
    log.seek(0)
    raise Failed(f"did not come up: {' '.join(map(str, command))}\n{log.read()[-2000:]}")


def stop(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process in STARTED:
        STARTED.remove(process)


def stop_all():
    for process in list(STARTED):
        stop(process)


def family(pid):
    """A process and everything that it has started."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue  # the thread has ended
        for child in children:
            pids += family(int(child))
    return pids


def memory_bytes(pid, kind="Rss"):
    """Resident memory of one process: Rss, or Pss, which divides shared pages by who shares them."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(rf"^{kind}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024
    except PermissionError:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


def cpu_ticks(pid):
    """User and system time of a process and what it has started so far, all threads."""
    total = 0
    for member in family(pid):
        # The name in parentheses may hold spaces: fields count from after it.
        fields = pathlib.Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def cpu_nanos(pid):
    """Time on a CPU of a process and what it has started so far, of all threads that live, ns."""
    total = 0
    for member in family(pid):
        for task in pathlib.Path(f"/proc/{member}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue  # the thread has ended
    return total


def cpu_busy_ticks(cpu):
    """Everything that ran on a CPU so far, whoever it was, without what was stolen."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            user, nice, system, _idle, _iowait, irq, softirq = map(int, line.split()[1:8])
            return user + nice + system + irq + softirq
    raise SystemExit(f"no CPU {cpu}")


def proportional_bytes(pid):
    """PSS of a process and what it has started."""
    return sum(memory_bytes(member, "Pss") for member in family(pid))


def bench(options, *arguments, seconds_max=120):
    """Runs srpd-bench on the CPU of clients: the object that it prints. Raises Failed."""
    command = list(map(str, [options.bench, *arguments, "--cpu", OTHER_CPU]))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds_max)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"not done after {seconds_max} s") from late
    if done.returncode != 0:
        raise Failed((done.stderr or done.stdout).strip().replace("srpd-bench: ", ""))
    return json.loads(done.stdout)


def raise_descriptors():
    """As many descriptors as this process and its children may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def rise():
    """Starts over in a session of its own with the highest weight there is: for shared machines."""
    if os.getsid(0) != os.getpid():
        os.execvp("setsid", ["setsid", "--wait", sys.executable, *sys.argv])
    group = pathlib.Path("/proc/self/autogroup")
    if group.exists():
        group.write_text("-20")
    os.nice(-20)
    # What the kernel does for these processes in threads of its own must not come last.
    for name in pathlib.Path("/proc").glob("[0-9]*/comm"):
        if name.read_text().startswith("ksoftirqd/"):
            thread = int(name.parent.name)
            atexit.register(os.setpriority, os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread))
            os.setpriority(os.PRIO_PROCESS, thread, -20)


def certificate(directory):
    """A certificate for loopback, and its key, one for all: ECDSA with P-256, as most are by now."""
    shown, key = directory / "cert.pem", directory / "key.pem"
    if shown.exists():
        return shown, key
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", key, "-out", shown, "-days", "30", "-subj", "/CN=bench",
         "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True, capture_output=True,
    )
    (directory / "both.pem").write_text(shown.read_text() + key.read_text())
    return shown, key


def output(*command):
    """What a command says, on either stream; nothing if it isn't there."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()


def machine(options):
    """What a report says of where it was made."""
    information = pathlib.Path("/proc/cpuinfo").read_text()
    model = next(
        (line.split(":", 1)[1].strip() for line in information.splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    srpd = pathlib.Path(options.srpd)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model,
        "cpus": os.cpu_count(),
        "virtual": "hypervisor" in information,
        "kernel": platform.release(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "priority": options.priority,
        "rustc": output("rustc", "--version"),
        "srpd": output("git", "describe", "--always", "--dirty", "--exclude", "*"),
        "srpd_sha256": hashlib.sha256(srpd.read_bytes()).hexdigest() if srpd.exists() else None,
    }


def title(about):
    """The machine in one line."""
    virtual = " (virtual machine)" if about["virtual"] else ""
    above = " Other work was running, at a lower priority." if about["priority"] else ""
    return (f"{about['date']}; {about['cpus']} × {about['cpu']}{virtual}, {about['memory_gib']} GiB, Linux "
            f"{about['kernel']}; {about['rustc']}; srpd {about['srpd']}.{above}")


def record(name, text, report):
    """Writes perf/results/NAME.md and NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(text)


def common_arguments(parser, name):
    """What every measuring command understands."""
    parser.add_argument("--priority", action="store_true", help="run above everything else on the machine (root)")
    parser.add_argument("--name", default=name, help="of the files under perf/results")
    parser.add_argument("--srpd", default=str(ROOT / "target/release/srpd"))
    parser.add_argument("--bench", default=str(ROOT / "target/release/srpd-bench"))


@dataclasses.dataclass
class Instance:
    """A server that runs."""

    name: str
    address: str
    process: subprocess.Popen = None  # none: the upstream itself, which costs nobody anything
    header: list = dataclasses.field(default_factory=list)  # options of srpd-bench: what a call must carry
    certificate: pathlib.Path = None  # what it shows over TLS; none: plaintext
    log: object = None
    since: float = dataclasses.field(default_factory=time.monotonic)

    def url(self):
        return f"{'https' if self.certificate else 'http'}://{self.address}/v1/chat/completions"

    def trust(self):
        return ["--ca", self.certificate] if self.certificate else []

    def pids(self):
        return family(self.process.pid)

    def cpu_ticks(self):
        return cpu_ticks(self.process.pid) if self.process else 0

    def is_alive(self):
        return self.process is None or self.process.poll() is None

    def stop(self):
        if self.process:
            stop(self.process)
        if self.log:
            self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read()
