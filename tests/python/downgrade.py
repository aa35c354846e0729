"""Malformed requests over HTTP/2 without TLS to argv[1]:80, a connection each. Prints a line for each:
its name, and the status that came with its reason, `reset` for the stream or `goaway` for the connection."""
import socket
import struct
import sys

import hpack

NAME = "app.example.test"
DATA, HEADERS, RST, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
START = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", NAME)]


def start(**changed):
    """The pseudo headers, some with other values or, without one, left out."""
    fields = [(name, changed.get(name[1:], value)) for name, value in START]
    return [field for field in fields if field[1] is not None]


CASES = {
    "sound": (start(method="GET"), b""),
    "transfer-encoding": (start() + [("transfer-encoding", "chunked")], b"0\r\n\r\n" + SMUGGLED),
    "connection": (start() + [("connection", "keep-alive")], b""),
    "upgrade": (start() + [("upgrade", "websocket")], b""),
    "keep-alive": (start() + [("keep-alive", "timeout=5")], b""),
    "proxy-connection": (start() + [("proxy-connection", "close")], b""),
    "te-gzip": (start() + [("te", "gzip")], b""),
    "length-without-body": (start() + [("content-length", "5")], b""),
    "body-above-length": (start() + [("content-length", "5")], b"hello" + SMUGGLED),
    "body-below-length": (start() + [("content-length", "500")], SMUGGLED),
    "length-no-number": (start() + [("content-length", "+5")], b"hello"),
    "two-lengths": (start() + [("content-length", "5"), ("content-length", "6")], b"hello"),
    "line-in-value": (start() + [("x", "y\r\n\r\n" + SMUGGLED.decode())], b""),
    "line-feed-in-value": (start() + [("x", "y\nx-smuggled: 1")], b""),
    "nul-in-value": (start() + [("x", "y\0z")], b""),
    "line-in-name": (start() + [("x: y\r\nx-smuggled", "1")], b""),
    "colon-in-name": (start() + [("x:y", "1")], b""),
    "space-in-name": (start() + [("x ", "1")], b""),
    "upper-case-name": (start() + [("X-Name", "1")], b""),
    "empty-name": (start() + [("", "1")], b""),
    "line-in-path": (start(path="/ HTTP/1.1\r\nx-smuggled: 1\r\nx:"), b""),
    "space-in-path": (start(path="/smuggled HTTP/1.1"), b""),
    "empty-path": (start(path=""), b""),
    "no-path": (start(path=None), b""),
    "line-in-method": (start(method="GET /smuggled HTTP/1.1\r\nx:"), b""),
    "no-method": (start(method=None), b""),
    "line-in-authority": (start(authority="a\r\nx-smuggled: 1"), b""),
    "user-in-authority": (start(authority="user@" + NAME), b""),
    "two-hosts": (start() + [("host", "other.example.test")], b""),
    "two-paths": (start() + [(":path", "/smuggled")], b""),
    "late-pseudo": (start(path=None) + [("x", "y"), (":path", "/smuggled")], b""),
    "unknown-pseudo": (start() + [(":smuggled", "1")], b""),
    "response-pseudo": (start() + [(":status", "200")], b""),
    # More than the balancer takes, and less than hyper refuses by itself.
    "large": (start() + [("x", "y" * 9000)], b""),
    "protocol-without-connect": (start() + [(":protocol", "websocket")], b""),
}


def frame(kind, flags, number, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, number) + payload


def exactly(stream, length):
    data = b""
    while len(data) < length:
        more = stream.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def outcome(stream):
    decoder = hpack.Decoder()
    while True:
        try:
            head = exactly(stream, 9)
            kind, flags = head[3], head[4]
            payload = exactly(stream, int.from_bytes(head[:3], "big"))
        except (EOFError, ConnectionError):
            return "closed"
        if kind == HEADERS:
            fields = dict(decoder.decode(payload))
            return f"{fields[':status']} {fields.get('fly-error', '')}".strip()
        if kind == RST:
            return "reset"
        if kind == GOAWAY:
            return "goaway"
        if kind == SETTINGS and not flags & ACK:
            stream.sendall(frame(SETTINGS, ACK, 0))


for name, (fields, body) in CASES.items():
    with socket.create_connection((sys.argv[1], 80), timeout=60) as stream:
        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        # A name in capitals or with spaces is sent as it is: hpack does not judge.
        section = hpack.Encoder().encode(fields)
        flags = END_HEADERS if body else END_HEADERS | END_STREAM
        stream.sendall(frame(HEADERS, flags, 1, section))
        if body:
            stream.sendall(frame(DATA, END_STREAM, 1, body))
        print(name, outcome(stream))
