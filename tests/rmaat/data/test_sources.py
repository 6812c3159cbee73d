"""Downloads from a server on this machine: checksum, continuation, refusals."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from astro_sim.errors import InputError
from rmaat.data.sources import Download, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    """Serves CONTENT with byte ranges; counts the bytes it sent."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start:])
            sent.append(len(CONTENT) - start)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/data.bin", sent
    running.shutdown()
    running.server_close()


def test_a_download_is_whole_checked_and_made_once(server, tmp_path):
    url, sent = server
    for _ in range(2):
        assert fetch(Download(url, MD5), tmp_path).read_bytes() == CONTENT
    assert sent == [len(CONTENT)]


def test_a_broken_off_download_is_continued(server, tmp_path):
    url, sent = server
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1_000_000])
    assert fetch(Download(url, MD5), tmp_path).read_bytes() == CONTENT
    assert sent == [2_000_000]


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(InputError, match="checksum"):
        fetch(Download(server[0], "0" * 32), tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_a_network_the_message_names_the_way_out(tmp_path):
    with pytest.raises(InputError, match="--folder"):
        fetch(Download("http://127.0.0.1:9/data.bin", MD5), tmp_path / "downloads")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"more"])
def test_a_download_that_was_not_checked_any_more_is_checked(server, tmp_path, content):
    """The server has nothing after its last byte and says 416."""
    (tmp_path / "data.bin.part").write_bytes(content)
    if content == CONTENT:
        assert fetch(Download(server[0], MD5), tmp_path).read_bytes() == CONTENT
    else:
        with pytest.raises(InputError, match="checksum"):
            fetch(Download(server[0], MD5), tmp_path)
        assert not list(tmp_path.iterdir())
