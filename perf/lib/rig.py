"""What perf/memory and perf/exhaustion stand on: one srpd with one core on CPU 0, and providers that
answer, or hang."""

import re
import secrets
import socket
import struct
import threading
import time
import urllib.request

from . import configs, processes

ADDRESS, ADMIN = "127.0.0.1:9660", "127.0.0.1:9760"
HUNG = ("127.0.0.1", 9860)
SPARE_DESCRIPTORS = 200  # of a process that holds a crowd, for everything else


def start_upstream(options, directory, plan=""):
    log = open(directory / "upstream.log", "w+", encoding="utf-8")
    command = [options.bench, "upstream", "--listen", processes.UPSTREAM, "--cpu", processes.OTHER_CPU, "--plan", plan]
    processes.start(command, log, processes.UPSTREAM)


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


class Srpd(processes.Instance):
    """A running srpd. `smart` is served by the upstream, `hung` by the hung provider first."""

    def __init__(self, options, directory, limits="", tls=False, wrap=(), calls_max=100000):
        directory.mkdir()
        self.options, self.key = options, "sk-" + secrets.token_urlsafe(32)
        secured = processes.certificate(directory) if tls else None
        text = configs.srpd(directory, options.srpd, ADDRESS, ADMIN, self.key, tls=secured)
        text = text.replace('capabilities = ["smart"]', 'capabilities = ["*"]')
        text += f"""
[limits]
connections_per_core = 100000
calls_per_core = {calls_max}
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
        log = open(directory / "srpd.log", "w+", encoding="utf-8")
        command = [*wrap, options.srpd, "serve", "--config", directory / "srpd.toml"]
        process = processes.start(command, log, ADDRESS, processes.PROXY_CPU)
        header = ["--header", f"authorization: Bearer {self.key}"]
        super().__init__("srpd", ADDRESS, process, header, secured[0] if secured else None, log)

    def resident(self):
        """Resident memory, bytes."""
        return processes.memory_bytes(self.process.pid)

    def cpu(self, seconds):
        """CPUs that it uses over so many seconds."""
        ticks, begun = self.cpu_ticks(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu_ticks() - ticks) / processes.TICK / (time.monotonic() - begun)

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
        return processes.bench(
            self.options, "load", "--url", self.url(), *self.trust(), "--connections", connections, "--rate", rate,
            "--settle", settle, "--seconds", seconds, *self.header,
        )
