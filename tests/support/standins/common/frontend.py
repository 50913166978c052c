"""An HTTP server that is not an ASGI app: it answers /health only."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Frontend(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    HTTPServer((sys.argv[1], int(sys.argv[2])), Frontend).serve_forever()
