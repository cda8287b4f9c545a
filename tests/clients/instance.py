"""A running srpd with four scripted upstreams behind it, and the means to look at both."""

import base64
import hashlib
import json
import os
import queue
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

from upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]

KEY = "srp-test-key"
LIMITED_KEY = "srp-limited-key"
AU_KEY = "srp-au-key"
METERED_KEY = "srp-metered-key"
STEADY_KEY = "srp-steady-key"
TOKENS_KEY = "srp-tokens-key"

START_WITHIN = 10
STOP_WITHIN = 10

CONFIG = """
[instance]
jurisdiction = "au"
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
cores = 2

[instance.groups]
anz = ["au", "nz"]

{tls}
[timeouts]
connect = "1s"
first_byte = "5s"
drain = "5s"
stall = "20s"  # a machine that tests share holds a core up for longer than a second

[breaker]
consecutive_failures = {consecutive_failures}
ratio_min_calls = 100000

[[authority]]
name = "test"
public_key = "{public_key}"

[[provider]]
name = "aloomu"
jurisdiction = "au"
accreditation = "{accreditation}"
endpoints = ["{aloomu}"]
models = {{ "*" = "aloomu-70b" }}

[[provider]]
name = "fleet-per"
jurisdiction = "au"
endpoints = ["{fleet_1}", "{fleet_2}"]
models = {{ fast = "qwen3-8b" }}

[[provider]]
name = "vendor-us"
jurisdiction = "us"
endpoints = ["{us}/v1"]
{us_ca}
models = {{ smart = "frontier-1", fast = "frontier-1-mini" }}
api_key = {{ env = "VENDOR_US_KEY" }}

[[provider]]
name = "vendor-de"
jurisdiction = "de"
endpoints = ["{de}"]
models = {{ smart = "grenze-2" }}

[[capability]]
name = "smart"
chain = ["vendor-us", "vendor-de"]

[[capability]]
name = "fast"
chain = ["fleet-per", "vendor-us"]

[[capability]]
name = "sovereign"
chain = []

[[key]]
name = "tests"
sha256 = "{key}"
capabilities = ["*"]

[[key]]
name = "limited"
sha256 = "{limited_key}"
capabilities = ["fast"]

[[key]]
name = "au-bound"
sha256 = "{au_key}"
capabilities = ["*"]
residency = "au-only"

[[key]]
name = "metered"
sha256 = "{metered_key}"
capabilities = ["*"]
requests_per_minute = 2

[[key]]
name = "steady"
sha256 = "{steady_key}"
capabilities = ["*"]
requests_per_minute = 30

[[key]]
name = "tokens"
sha256 = "{tokens_key}"
capabilities = ["*"]
tokens_per_minute = 2
"""


def srpd_binary():
    """`$SRPD`, or the newest build."""
    if named := os.environ.get("SRPD"):
        return Path(named)
    builds = [ROOT / "target" / kind / "srpd" for kind in ("release", "debug")]
    found = [build for build in builds if build.exists()]
    if not found:
        raise RuntimeError("no srpd: run `cargo build --release` first")
    return max(found, key=lambda build: build.stat().st_mtime)


def run(*arguments):
    """Runs an srpd command to its end; gives its output."""
    command = [srpd_binary(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def public_key_in(text):
    """The one word that is a base64 SubjectPublicKeyInfo of Ed25519 (44 bytes)."""
    for word in text.replace('"', " ").split():
        try:
            if len(base64.b64decode(word, validate=True)) == 44:
                return word
        except ValueError:
            continue
    raise RuntimeError(f"no public key in: {text}")


def accredit(directory):
    """An authority's key and aloomu's accreditation by it, through srpd's own commands."""
    private, accreditation = directory / "authority.pem", directory / "aloomu.json"
    public = public_key_in(run("accredit", "keygen", "--out", private))
    run(
        *["accredit", "sign", "--key", private, "--provider", "aloomu", "--jurisdiction", "au"],
        *["--endpoint", "http://127.0.0.1:1", "--days", "90", "--out", accreditation],
    )
    return public, accreditation


class Srpd:
    """One `srpd serve` process."""

    def __init__(self, config_file, environment=None, scheme="http"):
        command = [srpd_binary(), "serve", "--config", str(config_file)]
        self.lines = []
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        addresses = queue.Queue()
        threading.Thread(target=self.read, args=(addresses,), daemon=True).start()
        try:
            listening = addresses.get(timeout=START_WITHIN)
        except queue.Empty:
            listening = None
        if listening is None:
            self.process.kill()
            raise RuntimeError("srpd did not start:\n" + "".join(self.lines))
        self.base_url = f"{scheme}://{listening['data'][0]}/v1"
        self.admin_url = f"http://{listening['admin']}"

    def read(self, addresses):
        """Keeps the log, and finds in it the line that says where srpd listens."""
        for line in self.process.stdout:
            self.lines.append(line)
            if listening := listening_in(line):
                addresses.put(listening)
        addresses.put(None)

    def stop(self):
        """Asks it to drain; its exit code, or None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None


def listening_in(line):
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    fields = {**entry, **entry.get("fields", {})}
    if fields.get("message") != "listening":
        return None
    data = fields["data"]
    # A list, or the text of one: a log's fields are numbers and strings.
    if isinstance(data, str):
        data = [one.strip(' "') for one in data.strip("[]").split(",")]
    return {"data": data, "admin": fields["admin"]}


def server_context(pki):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pki.issue_cert("127.0.0.1").configure_cert(context)
    return context


def tls_table(directory, pki):
    """Writes an authority's certificate and one of srpd's own; gives the table that names it."""
    own = pki.issue_cert("127.0.0.1")
    own.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    own.private_key_pem.write_to_path(directory / "key.pem")
    pki.cert_pem.write_to_path(directory / "ca.pem")
    return '[instance.tls]\ncertificate = "cert.pem"\nprivate_key = "key.pem"\n'


class Instance:
    """srpd and what stands behind it."""

    def __init__(self, directory, authority, consecutive_failures=1000, pki=None):
        """With a `pki` (a `trustme.CA`) it speaks TLS to clients and to vendor-us."""
        public_key, accreditation = authority
        self.us = Upstream("vendor-us", pki and server_context(pki))
        self.de = Upstream("vendor-de")
        self.fleet = [Upstream("fleet-per-1"), Upstream("fleet-per-2")]
        self.aloomu = Upstream("aloomu")
        self.upstreams = [self.us, self.de, *self.fleet, self.aloomu]
        config = CONFIG.format(
            consecutive_failures=consecutive_failures,
            public_key=public_key,
            accreditation=accreditation,
            aloomu=self.aloomu.url,
            fleet_1=self.fleet[0].url,
            fleet_2=self.fleet[1].url,
            us=self.us.url,
            tls=tls_table(directory, pki) if pki else "",
            us_ca=f'ca = "{directory / "ca.pem"}"' if pki else "",
            de=self.de.url,
            key=sha256(KEY),
            limited_key=sha256(LIMITED_KEY),
            au_key=sha256(AU_KEY),
            metered_key=sha256(METERED_KEY),
            steady_key=sha256(STEADY_KEY),
            tokens_key=sha256(TOKENS_KEY),
        )
        file = directory / "srpd.toml"
        file.write_text(config)
        scheme = "https" if pki else "http"
        self.srpd = Srpd(file, {"VENDOR_US_KEY": "sk-vendor-us"}, scheme)

    @property
    def base_url(self):
        return self.srpd.base_url

    @property
    def seen(self):
        """How many requests reached any upstream."""
        return sum(len(upstream.requests) for upstream in self.upstreams)

    def close(self):
        code = self.srpd.stop()
        for upstream in self.upstreams:
            upstream.close()
        return code


def eventually(holds, within=5):
    """Waits until something holds; says whether it came to."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def main(command):
    """Runs a command, such as a suite in another language, with an instance of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        instance = Instance(directory, accredit(directory))
        names = {"us": instance.us, "de": instance.de, "aloomu": instance.aloomu}
        environment = {
            **os.environ,
            "SRPD_BASE_URL": instance.base_url,
            "SRPD_ADMIN_URL": instance.srpd.admin_url,
            "SRPD_KEY": KEY,
            "SRPD_METERED_KEY": METERED_KEY,
            "SRPD_UPSTREAMS": json.dumps({name: one.url for name, one in names.items()}),
        }
        code = subprocess.run(command, env=environment).returncode
        stopped = instance.close()
        if stopped != 0:
            print("srpd did not stop cleanly:", stopped, "".join(instance.srpd.lines), sep="\n")
        return code or (0 if stopped == 0 else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
