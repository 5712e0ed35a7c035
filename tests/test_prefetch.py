import gc
import threading
import time

import pytest

from mien.prefetch import prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "mien-prefetch"]


@pytest.mark.parametrize("items", [[], [1], list(range(50))], ids=["nothing", "one", "more than the depth"])
def test_the_items_come_in_order(items):
    assert list(prefetch(items)) == items
    assert not threads()


def test_an_error_comes_after_the_items_before_it():
    def broken():
        yield 1
        raise OSError("the rest is gone")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
    assert not threads()


def test_it_works_ahead_by_no_more_than_the_depth():
    made = []
    items = prefetch((made.append(i) or i for i in range(100)), depth=3)
    assert next(items) == 0
    time.sleep(0.1)
    assert len(made) == 4
    items.close()


@pytest.mark.parametrize("stop", [lambda items: items.close(), lambda items: gc.collect()], ids=["closed", "let go of"])
def test_stopping_early_closes_the_source_and_ends_the_thread(stop):
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    items = prefetch(prefetch(endless()))
    next(items)
    stop(items)
    del items
    gc.collect()
    assert closed == ["mien-prefetch"]
    assert not threads()
