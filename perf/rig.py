"""What perf/memory and perf/exhaustion stand on: one srpd with one core on CPU 0, and crowds that take
up its room from CPU 1, below everything else there (SCHED_IDLE)."""

import importlib.machinery
import importlib.util
import json
import pathlib
import re
import resource
import secrets
import select
import socket
import struct
import subprocess
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ADDRESS, ADMIN = "127.0.0.1:9660", "127.0.0.1:9760"
HUNG = ("127.0.0.1", 9860)
CROWD_SECONDS_MAX = 120
SPARE_DESCRIPTORS = 200  # of a process that holds a crowd, for everything else


def compare_nginx():
    """The comparison, as a module: it knows how to start and to load everything."""
    loader = importlib.machinery.SourceFileLoader("compare_nginx", str(HERE / "compare-nginx"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


compare = compare_nginx()


def raise_descriptors():
    """As many descriptors as this process and its children may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def start_upstream(options, directory, *arguments):
    log = open(directory / "upstream.log", "w+", encoding="utf-8")
    command = [options.bench, "upstream", "--listen", compare.UPSTREAM, "--cpu", compare.OTHER_CPU, *arguments]
    compare.start(list(map(str, command)), log, compare.UPSTREAM)


class HungProvider:
    """Takes connections, never reads and never answers, until it is told to let go."""

    def __init__(self):
        self.listener = socket.create_server(HUNG, backlog=4096)
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            self.connections.append(self.listener.accept()[0])

    def let_go(self):
        """Resets every connection."""
        for connection in self.connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self.connections = []


class Srpd:
    """A running srpd. `smart` is served by the upstream, `hung` by the hung provider first."""

    def __init__(self, options, directory, limits="", tls=False, wrap=()):
        directory.mkdir()
        self.key = "sk-" + secrets.token_urlsafe(32)
        self.certificate = compare.certificate(directory) if tls else None
        text = compare.srpd_config(directory, options.srpd, ADDRESS, ADMIN, self.key, False, self.certificate)
        text = text.replace('capabilities = ["smart"]', 'capabilities = ["*"]')
        text += f"""
[limits]
connections_per_core = 100000
calls_per_core = 100000
{limits}
[[provider]]
name = "hung"
jurisdiction = "au"
endpoints = ["http://{HUNG[0]}:{HUNG[1]}"]
models = {{ hung = "hung-1" }}

[[capability]]
name = "hung"
chain = ["hung"]
"""
        (directory / "srpd.toml").write_text(text)
        self.options = options
        self.log = open(directory / "srpd.log", "w+", encoding="utf-8")
        command = [*wrap, options.srpd, "serve", "--config", directory / "srpd.toml"]
        self.process = compare.start(list(map(str, command)), self.log, ADDRESS, compare.PROXY_CPU)
        self.proxy = compare.Contestant("srpd", "srpd", ADDRESS, process=self.process)
        self.header = ["--header", f"authorization: Bearer {self.key}"]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        compare.STARTED.remove(self.process)

    def resident(self):
        """Resident memory, bytes."""
        try:
            text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
            return int(re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024
        except PermissionError:
            text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
            return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def cpu(self, seconds):
        """CPUs that it uses over so many seconds."""
        ticks, begun = self.proxy.cpu_ticks(), time.monotonic()
        time.sleep(seconds)
        return (self.proxy.cpu_ticks() - ticks) / compare.TICK / (time.monotonic() - begun)

    def metrics(self, *names):
        """The sums of some metrics over all their labels."""
        sums = dict.fromkeys(names, 0.0)
        with urllib.request.urlopen(f"http://{ADMIN}/metrics", timeout=5) as page:
            for line in page.read().decode().splitlines():
                name = re.split(r"[{ ]", line, maxsplit=1)[0]
                if name in sums:
                    sums[name] += float(line.rpartition(" ")[2])
        return [sums[name] for name in names]

    def load(self, connections, rate, seconds, settle=0.5):
        """Small calls at a steady rate: the figures of srpd-bench load."""
        scheme, trust = ("https", ["--ca", self.certificate[0]]) if self.certificate else ("http", [])
        command = [
            self.options.bench, "load", "--url", f"{scheme}://{ADDRESS}/v1/chat/completions", *trust,
            "--cpu", compare.OTHER_CPU, "--connections", connections, "--rate", rate, "--settle", settle,
            "--seconds", seconds, *self.header,
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"calls: {done.stderr or done.stdout}{self.said()}")
        return json.loads(done.stdout)

    def said(self):
        self.log.seek(0)
        return self.log.read()


class Crowd:
    """Clients that take up room: `srpd-bench crowd`."""

    def __init__(self, srpd, manner, connections, *more):
        trust = ["--ca", srpd.certificate[0]] if srpd.certificate else []
        command = [
            "chrt", "--idle", "0", "taskset", "-c", compare.OTHER_CPU, srpd.options.bench, "crowd", "--to", ADDRESS,
            "--manner", manner, "--connections", connections, *trust, *srpd.header, *more,
        ]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        compare.STARTED.append(self.process)
        self.figures()  # when everybody has tried to take a place

    def figures(self):
        # Not select(2): its descriptors end at 1024, and a hung provider holds as many.
        waiting = select.poll()
        waiting.register(self.process.stdout, select.POLLIN)
        line = self.process.stdout.readline() if waiting.poll(CROWD_SECONDS_MAX * 1000) else ""
        if not line:
            raise SystemExit("the crowd did not come")
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
        compare.STARTED.remove(self.process)


def title(about):
    virtual = " (virtual machine)" if about["virtual"] else ""
    return (f"{about['date']}; {about['cpus']} × {about['cpu']}{virtual}, Linux {about['kernel']}; {about['rustc']}; "
            f"srpd {about['srpd']}.")


def record(name, text, report):
    """Writes perf/results/NAME.md and NAME.json."""
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.md").write_text(text)
    (results / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(text)
