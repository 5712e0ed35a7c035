"""``mien webcam`` on a terminal opens the page in the browser, which then has the camera."""

import os
import pty
import signal
import subprocess
import sys
import time

import httpx


def test_the_page_opens_where_a_person_sits(tmp_path):
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    terminal, screen = pty.openpty()
    command = [sys.executable, "-m", "mien", "webcam"]
    with subprocess.Popen(command, stdout=screen, stderr=screen, env={**os.environ, "BROWSER": f"{browser} %s"}) as webcam:
        try:
            for _ in range(1200):
                if opened.exists() and opened.read_text():
                    break
                time.sleep(0.05)
            address, _, tab = opened.read_text().strip().partition("#")
            assert address.startswith("http://127.0.0.1:")
            assert tab == "live"
            assert httpx.get(address, timeout=30).headers["content-type"].startswith("text/html")
        finally:
            webcam.send_signal(signal.SIGINT)
        assert webcam.wait(60) == 0
    os.close(terminal)
    os.close(screen)
