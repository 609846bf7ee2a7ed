"""An HTTP server that answers with its name and the client's address."""

import http.server
import socket
import sys


class Server(http.server.ThreadingHTTPServer):
    # One socket for both families; clients of IPv4 appear as ::ffff:A.B.C.D.
    address_family = socket.AF_INET6
    request_queue_size = 128


class WhoAmI(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        client = self.client_address[0].removeprefix("::ffff:")
        body = f"{sys.argv[1]} answers {client}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


Server(("::", 80), WhoAmI).serve_forever()
