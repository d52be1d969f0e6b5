"""What puts things back is not broken off: SIGINT waits, and an exception at any line leaves nothing undone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest

from gradproof._base._undisturbed import Guard, undisturbed

HANDLERS = {
    "that of Python": signal.default_int_handler,
    "none": signal.SIG_IGN,
    "the user's": lambda *_: SEEN.append(1),
}
SEEN: list[int] = []


@pytest.fixture(autouse=True)
def _handler():
    before = signal.getsignal(signal.SIGINT)
    SEEN.clear()
    yield
    signal.signal(signal.SIGINT, before)


class Lent:
    """Something that is taken and given back: in several steps, which may be broken off."""

    def __init__(self):
        self.steps = []
        self.is_taken = self.is_back = False

    def take(self):
        self.is_taken = True

    def give_back(self):
        self.steps.append("begin")
        self.is_taken = False
        self.steps.append("end")


def test_a_signal_while_something_is_put_back_comes_afterwards():
    done = []

    def work():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append(1)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        undisturbed(work)
    assert done == [1]


@pytest.mark.parametrize("name", list(HANDLERS))
def test_the_handler_is_put_back(name):
    handler = HANDLERS[name]
    signal.signal(signal.SIGINT, handler)
    undisturbed(lambda: None)
    assert signal.getsignal(signal.SIGINT) is handler
    assert SEEN == []


def test_a_handler_of_the_users_gets_the_signal():
    """It is called once the work is done, and only if the signal came."""
    signal.signal(signal.SIGINT, HANDLERS["the user's"])
    seen_within = []

    def work():
        signal.raise_signal(signal.SIGINT)
        seen_within.append(list(SEEN))

    undisturbed(work)
    assert (seen_within, SEEN) == ([[]], [1])
    assert signal.getsignal(signal.SIGINT) is HANDLERS["the user's"]


def test_what_the_work_raises_is_raised():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(ZeroDivisionError):
        undisturbed(lambda: 1 / 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_are_left_alone_in_other_threads():
    """There Python calls none."""
    found = []
    thread = threading.Thread(target=undisturbed, args=(lambda: found.append(signal.getsignal(signal.SIGINT)),))
    before = signal.getsignal(signal.SIGINT)
    thread.start(), thread.join()
    assert found == [before]


def use(lent):
    """The way in which a guard is used."""
    guard = Guard(lent.take, lent.give_back)
    with guard, guard:
        lent.steps.append("within")
    return lent


def use_once(lent):
    """And the way in which it must not be."""
    guard = Guard(lent.take, lent.give_back)
    guard.__enter__()  # arms it
    with guard:
        lent.steps.append("within")
    return lent


def broken_off_at(line, work, lent):
    """Whether KeyboardInterrupt could be raised at a line, counted from the start; it is by `sys.settrace`."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if event == "line":
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work(lent)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def left_taken(work):
    """Lines at which an exception leaves something taken, and how many lines there are.

    In another process: an exception that `sys.settrace` raises within an `except` stays what CPython 3.11 calls the
    exception being handled, and would be shown as the cause of every later one.
    """
    shown = subprocess.run([sys.executable, __file__, work.__name__], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)


def _left_taken(work):
    found, line = [], 1
    while True:
        lent = Lent()
        if not broken_off_at(line, work, lent):
            return found, line
        if lent.is_taken or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            found.append(line)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        line += 1


def test_an_exception_at_any_line_leaves_nothing_taken():
    """Of the guard, of what is taken and given back, and of the `with` itself."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found, lines = left_taken(use)
    assert found == []
    assert lines > 30


def test_a_single_guard_would_leave_something_taken():
    """Which is why it is entered twice."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found, _ = left_taken(use_once)
    assert found != []


def test_what_is_given_back_is_so_once():
    lent = use(Lent())
    assert lent.steps == ["within", "begin", "end"]
    assert signal.getsignal(signal.SIGINT) is not None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout.write(json.dumps(_left_taken(globals()[sys.argv[1]])))
