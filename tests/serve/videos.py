"""What tests of videos share: hand one in, wait for its state, and see what lies on the disk."""

import time

from mien.serve.work import folders


def hand_in(http, path_or_bytes, name="talk.mp4", **query):
    data = path_or_bytes if isinstance(path_or_bytes, bytes) else path_or_bytes.read_bytes()
    return http.post("/v1/video", files={"file": (name, data, "video/mp4")}, params=query)


def until(http, address, *states):
    for _ in range(600):
        job = http.get(address).json()
        if job["state"] in states:
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != folders.LOCK]
