#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What odd and hostile clients do to an HTTP server, as tests/io/net/http_server_test.cc has it: attacks.py PORT PID.

Prints a line for each: passed, or what came instead. Exits with the number that failed."""
import resource
import socket
import sys
import time

PORT, PID = int(sys.argv[1]), int(sys.argv[2])
BODY = b'{"model":"m","input":"a text"}'
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(timeout=25.0):
    return socket.create_connection(("127.0.0.1", PORT), timeout)


def read_reply(s, head_only=False):
    """(status, body) of one reply; (None, b'') when the connection ends before it."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = s.recv(65536)
        if not part:
            return None, data
        data += part
    head, rest = data.split(b"\r\n\r\n", 1)
    status = int(head.split()[1])
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(rest) < length and not head_only:
        part = s.recv(1 << 20)
        if not part:
            return None, rest
        rest += part
    return status, rest


def post(body, headers=b""):
    return b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n" % (len(body), headers) + body


def many_on_one():
    s = connect()
    for _ in range(50):
        s.sendall(post(BODY))
        if read_reply(s)[0] != 200:
            return "a reply was lost"


def split_bytes():
    s = connect()
    for byte in post(BODY):
        s.send(bytes([byte]))
    return None if read_reply(s)[0] == 200 else "no reply"


def chunked():
    s = connect()
    s.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    for byte in BODY:
        s.sendall(b"1\r\n%c\r\n" % byte)
    s.sendall(b"0\r\n\r\n")
    return None if read_reply(s)[0] == 200 else "no reply"


def expect_continue():
    s = connect(3)
    s.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
              % len(BODY))
    try:
        first = s.recv(25)
    except TimeoutError:
        return "no 100 Continue"
    if b"100" not in first:
        return "no 100 Continue"
    s.sendall(BODY)
    return None if read_reply(s)[0] == 200 else "no reply"


def long_head():
    s = connect()
    try:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200000)
        s.shutdown(socket.SHUT_WR)
        status = read_reply(s)[0]
    except OSError as error:
        return f"the answer was lost: {error}"
    return None if status in (400, 413, 431) else f"answered {status}"


def long_body():
    s = connect()
    try:
        s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000000\r\n\r\n")
        for _ in range(64):
            s.sendall(b"x" * 65536)
        status = read_reply(s)[0]
    except OSError as error:
        return f"the answer was lost: {error}"
    return None if status == 413 else f"answered {status}"


def two_lengths():
    s = connect()
    s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\n{}")
    s.settimeout(5)
    try:
        status = read_reply(s)[0]
    except (TimeoutError, ConnectionError):
        return "waits: one of two lengths was taken"
    return None if status == 400 else f"answered {status}"


def length_and_chunks():
    s = connect()
    s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET)
    s.settimeout(5)
    try:
        status = read_reply(s)[0]
    except (TimeoutError, ConnectionError):
        return "waits"
    return None if status == 400 else f"answered {status}: a way to smuggle a request"


def half_closed():
    s = connect()
    s.sendall(post(BODY))
    s.shutdown(socket.SHUT_WR)
    return None if read_reply(s)[0] == 200 else "no reply"


def head_method():
    s = connect(3)
    s.sendall(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    status, rest = read_reply(s, head_only=True)
    if status is None or rest:
        return "a body came"
    try:
        return "a body came" if s.recv(1) else None
    except TimeoutError:
        return None


def slow_head():
    """A byte a second: it must not last longer than a head may take, 15 s."""
    s = connect()
    began = time.monotonic()
    try:
        for byte in (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10):
            s.send(bytes([byte]))
            time.sleep(1)
            s.settimeout(0.01)
            try:
                if not s.recv(1):
                    return None
                return None  # answered: 408
            except TimeoutError:
                s.settimeout(25)
            if time.monotonic() - began > 22:
                return "held open for as long as bytes drip"
    except OSError:
        return None


def not_read():
    """Clients that ask and do not read: the memory of the server must stay bounded."""
    sockets = []
    for _ in range(64):
        s = connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(0.2)
        try:
            for _ in range(200):
                s.sendall(post(BODY))
        except OSError:
            pass
        sockets.append(s)
    with open(f"/proc/{PID}/statm") as statm:
        resident = int(statm.read().split()[1]) * resource.getpagesize()
    return None if resident < 1 << 30 else f"{resident >> 20} MiB resident"


def no_descriptors():
    """Idle connections beyond the file limit of the server: others must still be answered."""
    soft, hard = resource.prlimit(PID, resource.RLIMIT_NOFILE)
    resource.prlimit(PID, resource.RLIMIT_NOFILE, (64, hard))
    try:
        idle = [connect() for _ in range(120)]
        time.sleep(2)
        s = connect(10)
        s.sendall(GET)
        try:
            status = read_reply(s)[0]
        except OSError:
            status = None
        del idle
        return None if status is not None else "locked out by idle connections"
    finally:
        resource.prlimit(PID, resource.RLIMIT_NOFILE, (soft, hard))


def main():
    failed = 0
    for attack in (many_on_one, split_bytes, chunked, expect_continue, long_head, long_body, two_lengths,
                   length_and_chunks, half_closed, head_method, slow_head, not_read, no_descriptors):
        try:
            said = attack()
        except OSError as error:
            said = f"{type(error).__name__}: {error}"
        failed += said is not None
        print(f"  {attack.__name__:18} {said or 'passed'}", flush=True)
    return failed


sys.exit(main())
