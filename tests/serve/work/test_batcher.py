"""Faces of several callers share batches; a full or failing service says so."""

import asyncio
import io
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from mien.classify import Classifier
from mien.errors import BundleError
from mien.media.sources import Source
from mien.pipeline import Pipeline
from mien.serve.work.batcher import Batcher
from tests.serve.held import held_pipeline
from tests.serve.running import running
from tests.support import ToldDetector, detection, tiny_bundle


def grey_photo(level, size=(64, 64)):
    out = io.BytesIO()
    Image.new("L", size, level).save(out, "PNG")
    return out.getvalue()


async def analyzed(pipeline, photos, workers=4, wait_s=0.05):
    batches = []
    batcher = Batcher(pipeline, workers=workers, batch_wait_s=wait_s, on_batch=lambda *sizes: batches.append(sizes))
    batcher.start()
    try:
        answers = await asyncio.gather(
            *(batcher.analyze(Source(str(i), photo), max_faces=100) for i, photo in enumerate(photos)), return_exceptions=True
        )
    finally:
        await batcher.close()
    return answers, batches


@pytest.fixture
def tiny(tmp_path):
    return tiny_bundle(tmp_path / "tiny")


def test_faces_of_several_callers_are_classified_together_and_each_gets_its_own_answer(tiny):
    pipeline = Pipeline(classifier=Classifier(tiny, threads=1), detector=ToldDetector((detection(),)))
    photos = [grey_photo(level) for level in range(0, 240, 20)]
    answers, batches = asyncio.run(analyzed(pipeline, photos))
    expected = [pipeline.analyze(Source(str(i), photo)) for i, photo in enumerate(photos)]
    assert [result for result, _ in answers] == expected
    assert len({result.faces[0].emotions for result, _ in answers}) == len(photos)
    assert sum(count for count, _ in batches) == len(photos)
    assert len(batches) <= len(photos) / 2


def test_a_face_alone_does_not_wait(tiny):
    pipeline = Pipeline(classifier=Classifier(tiny, threads=1), detector=ToldDetector((detection(),)))
    began = time.monotonic()
    asyncio.run(analyzed(pipeline, [grey_photo(0)], wait_s=20))
    assert time.monotonic() - began < 10


def test_a_batch_takes_no_more_faces_than_pay(tiny):
    crowd = ToldDetector(tuple(detection(50 * i) for i in range(20)))
    pipeline = Pipeline(classifier=Classifier(tiny, threads=1), detector=crowd)
    answers, batches = asyncio.run(analyzed(pipeline, [grey_photo(100, (1000, 64))] * 3, wait_s=1))
    assert [len(result.faces) for result, _ in answers] == [20, 20, 20]
    assert batches == [(1, 20)] * 3


def test_a_failing_classifier_fails_those_who_wait_and_nobody_after_them(tiny):
    class Once(Classifier):
        failed = False

        def probabilities(self, chips):
            if not self.failed:
                self.failed = True
                raise BundleError("answered values that are not finite")
            return super().probabilities(chips)

    pipeline = Pipeline(classifier=Once(tiny, threads=1), detector=ToldDetector((detection(),)))
    answers, _ = asyncio.run(analyzed(pipeline, [grey_photo(i) for i in range(6)], workers=1, wait_s=0))
    failed = [answer for answer in answers if isinstance(answer, BundleError)]
    assert failed  # those of the first batch, which a busy machine may fill with all six
    with running(Pipeline(classifier=Once(tiny, threads=1), detector=ToldDetector((detection(),)))) as address:
        answer = httpx.post(f"{address}/v1/analyze", content=grey_photo(0))
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal"
        assert "finite" not in answer.text
        assert httpx.post(f"{address}/v1/analyze", content=grey_photo(0)).status_code == 200


def test_a_full_service_says_when_to_come_back(tiny):
    pipeline, detector = held_pipeline(tiny)
    with running(pipeline, max_in_flight=2, workers=2) as address:

        async def calls():
            async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                first = [asyncio.create_task(client.post("/v1/analyze", content=grey_photo(0))) for _ in range(2)]
                for _ in first:
                    await asyncio.to_thread(detector.waiting.acquire)
                refused = await client.post("/v1/analyze", content=grey_photo(0))
                well = await client.get("/healthz")
                detector.free.set()
                return refused, well, await asyncio.gather(*first)

        refused, well, first = asyncio.run(calls())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
    assert int(refused.headers["retry-after"]) >= 1
    assert well.status_code == 200
    assert [answer.status_code for answer in first] == [200, 200]


def test_a_caller_who_leaves_frees_the_place(tiny):
    pipeline, detector = held_pipeline(tiny)
    with running(pipeline, max_in_flight=1) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/analyze", content=grey_photo(0), timeout=0.3)
        detector.free.set()
        for _ in range(100):
            answer = httpx.post(f"{address}/v1/analyze", content=grey_photo(0))
            if answer.status_code == 200:
                break
            time.sleep(0.05)
    assert answer.status_code == 200


def test_parallel_results_are_those_of_one_after_the_other(http, pipeline, portrait):
    rng = np.random.default_rng(0)
    with Image.open(io.BytesIO(portrait)) as photo:
        shots = []
        for _ in range(8):
            x, y = (int(v) for v in rng.integers(60, 120, 2))
            out = io.BytesIO()
            photo.crop((x, y - 60, x + 240, y + 180)).save(out, "JPEG", quality=90)
            shots.append(out.getvalue())

    async def calls():
        async with httpx.AsyncClient(base_url=http.base_url, timeout=60) as client:
            return await asyncio.gather(*(client.post("/v1/analyze", content=shot) for shot in shots))

    together = [answer.json()["faces"] for answer in asyncio.run(calls())]
    for shot, faces in zip(shots, together, strict=True):
        expected = pipeline.analyze(shot)
        assert [face["box_xyxy"] for face in faces] == [list(face.box_xyxy) for face in expected.faces]
        for face, other in zip(faces, expected.faces, strict=True):
            assert face["emotions"] == pytest.approx(other.emotions.to_dict(), abs=1e-5)
