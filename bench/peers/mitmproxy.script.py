# What mitmproxy is told: every name is this machine, and a request carries the real credential.
import os
import socket

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **options: resolve("127.0.0.1", *more, **options)


def request(flow):
    flow.request.headers["Authorization"] = os.environ["BENCH_AUTHORIZATION"]
