"""An upstream that answers as OpenAI does, remembers what it was sent, and fails as it is told.

How it answers is a list of acts, one a request, then `always`; an act is a dictionary:

    {"act": "answer", "pause": 0.05}            the plain answer, a pause before each stream event
    {"act": "status", "status": 500, "headers": {…}, "body": {…}}
    {"act": "reset"}                            closes the connection without an answer
    {"act": "hang"}                             reads the request and says nothing
    {"act": "die", "after": 3}                  a stream that is cut after so many events
    {"act": "error_first"}                      a 200 whose first event is an error
    {"act": "truncated"}                        a body shorter than its Content-Length
    {"act": "unparsable"}                       a 200 that is not JSON

Suites in other languages reach the same through HTTP: `POST /_script`, `GET /_requests`.
"""

import json
import socket
import struct
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import shapes

ANSWER = {"act": "answer"}

SPEECH = bytes(range(256)) * 300

WHOLE = {
    "/v1/chat/completions": shapes.chat,
    "/v1/completions": shapes.completion,
    "/v1/responses": shapes.response,
    "/v1/embeddings": lambda request, _text: shapes.embeddings(request),
    "/v1/moderations": lambda request, _text: shapes.moderation(request),
    "/v1/images/generations": lambda request, _text: shapes.images(request),
}

STREAMED = {
    "/v1/chat/completions": shapes.chat_events,
    "/v1/completions": shapes.completion_events,
    "/v1/responses": shapes.response_events,
}


class Upstream:
    """One endpoint, on a loopback port of its own."""

    def __init__(self, name, context=None):
        """With a `context` (an `ssl.SSLContext` of a server) it speaks TLS."""
        self.name = name
        self.scheme = "https" if context else "http"
        # What this upstream says, whole and streamed alike.
        self.text = f"Greetings from {name} to you"
        self.lock = threading.Lock()
        self.reset()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.upstream = self
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        thread.start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}"

    def reset(self):
        with self.lock:
            self.requests = []
            self.disconnects = 0
            self.acts = deque()
            self.always = ANSWER

    def then(self, *acts):
        """The acts of the next requests."""
        with self.lock:
            self.acts.extend(acts)

    def next_act(self):
        with self.lock:
            return self.acts.popleft() if self.acts else self.always

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A peer that leaves is part of the play, not news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """The suites look at what was received, not at a log."""

    def do_GET(self):
        if self.path == "/_requests":
            with self.upstream.lock:
                seen = [{**one, "raw": None} for one in self.upstream.requests]
            self.send_json(200, seen)
        else:
            self.send_json(404, shapes.error("no such page"))

    def do_POST(self):
        raw = self.read_body()
        if self.path == "/_script":
            return self.take_script(json.loads(raw))
        received = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "raw": raw,
            "json": None,
        }
        if self.headers.get("content-type", "").startswith("application/json"):
            received["json"] = json.loads(raw)
        with self.upstream.lock:
            self.upstream.requests.append(received)
        self.play(received, self.upstream.next_act())

    @property
    def upstream(self):
        return self.server.upstream

    def read_body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def take_script(self, script):
        self.upstream.reset()
        with self.upstream.lock:
            self.upstream.always = script.get("always", ANSWER)
            self.upstream.acts.extend(script.get("next", []))
        self.send_json(200, {})

    def play(self, received, act):
        match act["act"]:
            case "answer":
                self.answer(received, act)
            case "status":
                error = shapes.error(f"{self.upstream.name} says no", code=act.get("code"))
                self.send_json(act["status"], act.get("body", error), act.get("headers", {}))
            case "reset":
                self.abort()
            case "hang":
                self.wait_for_disconnect()
            case "die":
                self.stream(received["json"], act)
            case "error_first":
                self.start_stream()
                self.send_event(shapes.data_event(shapes.error("overloaded")))
                self.end_stream()
            case "truncated":
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"id":"chatcmpl-1",')
                self.abort()
            case "unparsable":
                self.send_bytes(200, b'{"id":"chatcmpl-1",,}', "application/json", {})

    def answer(self, received, act):
        request = received["json"]
        if self.path == "/v1/audio/speech":
            return self.send_bytes(200, SPEECH, "audio/mpeg", {})
        if self.path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
            return self.send_json(200, {"text": self.upstream.text})
        if request.get("stream"):
            return self.stream(request, act)
        time.sleep(act.get("pause", 0))
        self.send_json(200, WHOLE[self.path](request, self.upstream.text))

    def stream(self, request, act):
        self.start_stream()
        events = STREAMED[self.path](request, self.upstream.text)
        try:
            for number, event in enumerate(events):
                if number == act.get("after"):
                    return self.abort()
                self.send_event(event)
                time.sleep(act.get("pause", 0))
            self.end_stream()
        except OSError:
            with self.upstream.lock:
                self.upstream.disconnects += 1
            self.close_connection = True

    def send_bytes(self, status, body, kind, headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_vendor_headers()
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, status, body, headers=None):
        self.send_bytes(status, json.dumps(body).encode(), "application/json", headers or {})

    def send_vendor_headers(self):
        """What a vendor says about itself; none of it may reach a client."""
        self.send_header("openai-organization", "org-" + self.upstream.name)
        self.send_header("x-ratelimit-remaining-requests", "41")
        self.send_header("x-request-id", "req-" + self.upstream.name)
        self.send_header("set-cookie", "session=1")
        self.send_header("cf-ray", "1")

    def start_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_vendor_headers()
        self.end_headers()

    def send_event(self, event):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    def wait_for_disconnect(self):
        self.connection.settimeout(30)
        if not self.connection.recv(1):
            with self.upstream.lock:
                self.upstream.disconnects += 1
        self.close_connection = True

    def abort(self):
        """Resets the connection: no clean end that could be taken for an answer's."""
        self.wfile.flush()
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True
