import csv
import io
import json
import os

import pytest

from mien.errors import UsageError
from mien.results import Emotions, ErrorResult, Face, FrameResult, ModelRef, record_from_dict
from mien.sinks import csv_columns, open_sink

LABELS = ("happy", "sad")
SURE = Face((1.5, 2.0, 30.0, 40.0), 0.9, ((1.0, 2.0),) * 5, Emotions(LABELS, (0.9, 0.1)), uncertain=False)
UNSURE = Face((1.5, 2.0, 30.0, 40.0), 0.9, ((1.0, 2.0),) * 5, Emotions(LABELS, (0.45, 0.55)), uncertain=True)
MODEL = ModelRef("tiny", "1.0")
RECORDS = [
    FrameResult('odd "name",\n.jpg', 64, 48, (SURE, UNSURE), MODEL),
    FrameResult("none.png", 64, 48, (), MODEL, notes=("first of 3 frames",)),
    ErrorResult(os.fsdecode(b"caf\xe9.jpg"), "corrupt_media", "cut short"),
]


def _written(kind):
    out = io.StringIO(newline="")
    with open_sink(kind, out, LABELS) as sink:
        for record in RECORDS:
            sink.write(record)
    return out.getvalue()


def test_json_lines_hold_every_record_unchanged():
    assert [record_from_dict(json.loads(line)) for line in _written("jsonl").splitlines()] == RECORDS


def test_csv_rows():
    rows = list(csv.DictReader(io.StringIO(_written("csv"), newline="")))
    assert [r["source"] for r in rows] == [RECORDS[0].source] * 2 + ["none.png", RECORDS[2].source]
    assert list(rows[0]) == csv_columns(LABELS)
    assert (rows[0]["x0"], rows[0]["happy"], rows[0]["face_index"], rows[0]["nose_y"]) == ("1.5", "0.9", "0", "2.0")
    assert rows[1]["uncertain"] == "True"
    assert (rows[2]["face_count"], rows[2]["notes"]) == ("0", "first of 3 frames")
    assert (rows[3]["error_code"], rows[3]["width"]) == ("corrupt_media", "")


def test_the_table_is_for_people():
    text = _written("table")
    assert "not sure (sad or happy)" in text
    assert "no face found" in text
    assert "error corrupt_media" in text
    assert "0.90" in text


def test_a_label_in_brackets_heads_its_column():
    out, labels = io.StringIO(), ("[red]", "sad")
    with open_sink("table", out, labels) as sink:
        face = Face((1.5, 2.0, 30.0, 40.0), 0.9, ((1.0, 2.0),) * 5, Emotions(labels, (0.9, 0.1)), uncertain=False)
        sink.write(FrameResult("a.png", 64, 48, (face,), MODEL))
    assert out.getvalue().count("[red]") == 2


def test_a_table_of_nothing_is_nothing():
    out = io.StringIO()
    open_sink("table", out, LABELS).close()
    assert out.getvalue() == ""


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(UsageError, match="table, jsonl, csv"):
        open_sink("xml", io.StringIO(), LABELS)
