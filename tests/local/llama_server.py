"""``python llama_server.py MODEL.gguf``: llama.cpp's own OpenAI-compatible server, on a port that it prints.

One thread: on a busy machine of two cores, two threads spin against each other.
"""

import sys

import xllamacpp


def main(path: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {"smollm2-135m-instruct"}
    params.n_ctx = 2048
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.hostnames = ["127.0.0.1"]
    params.ui = False
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()  # until the parent closes it, or ends


if __name__ == "__main__":
    main(sys.argv[1])
