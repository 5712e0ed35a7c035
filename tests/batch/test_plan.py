"""The plan: each input once, cut into shards, whatever it is called."""

import os

import pytest

from mien.batch.inputs import Input
from mien.batch.plan import Plan


def planned(folder, inputs, shard=3):
    plan = Plan(folder)
    numbers = plan.write(inputs, shard)
    shards = plan.shards()
    return numbers, [[Input.from_line(line) for line in plan.lines(cut).splitlines()] for cut in shards]


def photo(name, **values):
    return Input(name, place=f"/in/{name}", **values)


def test_shards_hold_every_input_once_in_order_and_videos_alone(tmp_path):
    names = ["a.jpg", "b.jpg", "clip.mp4", "c.jpg", "d.jpg", "e.jpg"]
    inputs = [photo(name, kind="video" if name.endswith("mp4") else "photo", size=10) for name in names]
    numbers, groups = planned(tmp_path, inputs)
    assert [[item.name for item in group] for group in groups] == [["clip.mp4"], ["a.jpg", "b.jpg", "c.jpg"], ["d.jpg", "e.jpg"]]
    assert (numbers.inputs, numbers.photos, numbers.videos, numbers.size, numbers.shards) == (6, 5, 1, 60, 3)


def test_what_is_named_again_is_taken_once_at_its_first_place(tmp_path):
    inputs = [photo("a.jpg"), photo("b.jpg"), photo("a.jpg"), Input("other name", place="/in/b.jpg"), photo("c.jpg")]
    numbers, groups = planned(tmp_path, inputs, shard=10)
    assert [item.name for group in groups for item in group] == ["a.jpg", "b.jpg", "c.jpg"]
    assert numbers.duplicates == 2


def test_members_of_one_archive_are_different_inputs(tmp_path):
    inputs = [Input(f"x.tar::{n}", place="/x.tar", packing="tar", member=512 * n, size=1) for n in range(4)]
    assert planned(tmp_path, inputs)[0].inputs == 4


@pytest.mark.parametrize(
    "name", ["two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg"), "emoji \U0001f600.jpg", "null\0.jpg", "'\"\\.jpg", "\x7f\x1b[31m.jpg"]
)
def test_any_name_comes_back(tmp_path, name):
    _, [[item]] = planned(tmp_path, [photo(name, size=1, changed_ns=2)])
    assert item == photo(name, size=1, changed_ns=2)


def test_the_same_inputs_give_the_same_plan(tmp_path):
    plans = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        plans.append(planned(tmp_path / place, [photo(f"{n}.jpg") for n in range(10)])[0].sha256)
    assert plans[0] == plans[1]


def test_nothing_is_a_plan_of_no_shards(tmp_path):
    numbers, groups = planned(tmp_path, [])
    assert (numbers.inputs, groups) == (0, [])
