"""Takes what is posted to it, and writes it down before it answers, so that what it has said it has outlives it.

    http_receiver.py PORT FILE [TOKEN]

Each line of FILE is a request as JSON. With TOKEN, a request with another bearer token gets 401; what is posted below
/missing gets 404.
"""

import http.server
import json
import os
import sys

port, path, *token = sys.argv[1:]
record = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A sender that is gone without a word does not occupy a thread for ever.
    timeout = 30

    def do_POST(self):
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            # The sender was killed while it sent.
            self.close_connection = True
            return
        status = 200
        if self.path.startswith("/missing"):
            status = 404
        elif token and self.headers["authorization"] != f"Bearer {token[0]}":
            status = 401
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = {"path": self.path, "headers": headers, "body": json.loads(body), "status": status}
        os.write(record, (json.dumps(request) + "\n").encode())
        answer = b"ok" if status == 200 else b"no"
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
