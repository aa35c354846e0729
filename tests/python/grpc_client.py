"""Every kind of gRPC call to the target argv[1]; with argv[2], a file of certificates, over TLS."""
import queue
import sys

import grpc

PATIENCE = 60
target = sys.argv[1]
if len(sys.argv) > 2:
    with open(sys.argv[2], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = (("grpc.ssl_target_name_override", "app.example.test"),)
    channel = grpc.secure_channel(target, credentials, options)
else:
    options = (("grpc.default_authority", "app.example.test"),)
    channel = grpc.insecure_channel(target, options)

unary = channel.unary_unary("/test.Echo/Unary")
answer, call = unary.with_call(b"hello", timeout=PATIENCE)
assert answer == b"echo hello", answer
assert ("x-sum", "5") in call.trailing_metadata(), call.trailing_metadata()
assert call.code() == grpc.StatusCode.OK

large = bytes(3 << 20)
assert unary(large, timeout=PATIENCE) == b"echo " + large

try:
    unary(b"fail", timeout=PATIENCE)
    raise SystemExit("a failing call succeeded")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "as asked", error

try:
    channel.unary_unary("/test.Echo/None")(b"", timeout=PATIENCE)
    raise SystemExit("a call of an unknown method succeeded")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

items = list(channel.unary_stream("/test.Echo/ServerStream")(b"500", timeout=PATIENCE))
assert items == [b"item %d" % number for number in range(500)]

total = channel.stream_unary("/test.Echo/ClientStream")(
    (bytes(1000) for _ in range(500)), timeout=PATIENCE
)
assert total == b"500000", total

# Each answer comes before the next question is asked.
questions = queue.Queue()
answers = channel.stream_stream("/test.Echo/Both")(iter(questions.get, None), timeout=PATIENCE)
for number in range(50):
    questions.put(b"%d" % number)
    assert next(answers) == b"echo %d" % number
questions.put(None)
assert list(answers) == []
assert answers.code() == grpc.StatusCode.OK

# A call that its client gives up.
endless = channel.stream_stream("/test.Echo/Both")(iter(questions.get, None), timeout=PATIENCE)
questions.put(b"once")
assert next(endless) == b"echo once"
endless.cancel()
questions.put(None)
print("ok")
