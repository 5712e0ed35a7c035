"""A slot for the newest item, between two threads."""

from threading import Thread

from mien.latest import Latest


def test_a_newer_item_replaces_an_older_one_and_is_counted():
    slot = Latest[int]()
    for item in range(5):
        slot.put(item)
    assert (slot.take(), slot.dropped) == (4, 4)
    slot.put(5)
    assert (slot.take(), slot.dropped) == (5, 4)


def test_who_waits_gets_the_next_item():
    slot, taken = Latest[str](), []
    waiting = Thread(target=lambda: taken.append(slot.take()))
    waiting.start()
    slot.put("frame")
    waiting.join(10)
    assert taken == ["frame"]


def test_closing_lets_those_who_wait_go_and_gives_nothing_more():
    slot, taken = Latest[str](), []
    waiting = Thread(target=lambda: taken.append(slot.take()))
    waiting.start()
    slot.close()
    waiting.join(10)
    slot.put("late")
    assert (taken, slot.take()) == ([None], None)
