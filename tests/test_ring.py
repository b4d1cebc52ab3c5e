"""Rings against plain oracles, and who waits for whom."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.ring import AudioRing, FrameRing
from streamer.types import AudioChunk, Floats, Frame


def frame(index: int, t: float) -> Frame:
    return Frame(t, index, lambda: np.zeros((1, 1, 3), np.uint8))


def taken(ring: FrameRing) -> list[int]:
    """The indices of all frames that are left in a closed ring."""
    items = iter(ring.take, None)
    return [item.index for item in items if isinstance(item, Frame)]


@pytest.fixture
def aside() -> Iterator[Callable[..., Future[object]]]:
    """Runs a call in another thread."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


class Watched(threading.Condition):
    """A ring's condition, which also tells when somebody begins to wait for it."""

    def __init__(self, condition: threading.Condition, begun: threading.Semaphore) -> None:
        super().__init__(condition._lock)  # type: ignore[attr-defined]
        self._begun = begun

    def wait(self, timeout: float | None = None) -> bool:
        self._begun.release()
        return super().wait(timeout)


def watched(ring: FrameRing | AudioRing) -> threading.Semaphore:
    """Released once each time a thread begins to wait for ``ring``."""
    begun = threading.Semaphore(0)
    for name, value in list(vars(ring).items()):
        if isinstance(value, threading.Condition):
            setattr(ring, name, Watched(value, begun))
    return begun


# Frames


def test_that_time_went_on_is_told_though_the_ring_is_closed_by_then() -> None:
    ring = FrameRing(10, 10, lossless=True)
    ring.put(frame(0, 0.0))
    ring.advance(7.0)
    ring.close(0.1)
    first = ring.take()
    assert isinstance(first, Frame)
    assert (ring.take(), ring.take()) == (7.0, None)


def test_a_stream_without_frames_ends_where_it_is_said_to() -> None:
    ring = FrameRing(10, 10, lossless=True)
    ring.close(12.5)
    assert (ring.take(), ring.end) == (None, 12.5)


MILLISECONDS = st.lists(st.integers(1, 400), min_size=1, max_size=60)
RATES = st.sampled_from([1, 4, 8, 10, 25, 40, 50, 100])


def wanted(ms: list[int], rate: int, end: int) -> list[int]:
    """The newest frame up to k / rate, for every k before ``end``, in integers."""
    found = {
        max((i for i, t in enumerate(ms) if t * rate <= k * 1000), default=None)
        for k in range(-(-end * rate // 1000))
    }
    indices = sorted(i for i in found if i is not None)
    return indices or ([0] if len(ms) == 1 else [])


@given(MILLISECONDS, st.integers(0, 3000), RATES, st.integers(0, 400), st.booleans())
def test_frames_are_the_newest_up_to_each_grid_point(
    steps: list[int], first: int, rate: int, rest: int, advancing: bool
) -> None:
    ms = [int(t) + first - steps[0] for t in np.cumsum(steps)]
    ring = FrameRing(rate, 10_000, lossless=True)
    for i, t in enumerate(ms):
        if advancing:
            ring.advance(t / 1000)
        ring.put(frame(i, t / 1000))
    ring.close((ms[-1] + rest) / 1000)
    assert taken(ring) == wanted(ms, rate, ms[-1] + rest)
    assert ring.seen == len(ms)
    assert ring.dropped == 0
    assert ring.end == (ms[-1] + rest) / 1000


@given(MILLISECONDS, RATES, st.data())
def test_interleaving_does_not_change_what_is_taken(
    steps: list[int], rate: int, data: st.DataObject
) -> None:
    ms = [int(t) for t in np.cumsum(steps)]
    ring, got = FrameRing(rate, len(ms) + 1, lossless=True), []
    for i, t in enumerate(ms):
        ring.put(frame(i, t / 1000))
        for _ in range(data.draw(st.integers(0, len(ring)))):
            item = ring.take()
            assert isinstance(item, Frame)
            got.append(item.index)
    ring.close()
    assert got + taken(ring) == wanted(ms, rate, ms[-1])


@given(MILLISECONDS, RATES, st.integers(1, 8))
def test_live_ring_keeps_the_newest_and_counts_the_rest(
    steps: list[int], rate: int, slots: int
) -> None:
    ms = [int(t) for t in np.cumsum(steps)]
    ring = FrameRing(rate, slots, lossless=False)
    for i, t in enumerate(ms):
        ring.put(frame(i, t / 1000))
    ring.close()
    all_wanted = wanted(ms, rate, ms[-1])
    assert taken(ring) == all_wanted[-slots:]
    assert ring.dropped == max(len(all_wanted) - slots, 0)


@pytest.mark.parametrize("rate", [10, 25, 29.97, 30])
def test_stamps_on_the_grid_are_all_wanted(rate: float) -> None:
    ring = FrameRing(rate, 2000, lossless=True)
    for k in range(1000):
        ring.put(frame(k, round(float(Fraction(k) / Fraction(rate)), 9)))
    ring.close(1000 / rate)
    assert taken(ring) == list(range(1000))


def test_time_without_frames_is_told_and_hands_out_the_last_frame() -> None:
    ring = FrameRing(10, 4, lossless=True)
    ring.put(frame(0, 0.0))
    ring.put(frame(1, 0.25))
    assert [getattr(ring.take(), "index", None)] == [0]
    ring.advance(0.3)  # frame 1 may yet be followed by one that t = 0.3 wants
    assert ring.take() == 0.25
    ring.advance(40.0)
    item = ring.take()
    assert isinstance(item, Frame)
    assert item.index == 1
    assert ring.take() == 40.0
    ring.put(frame(2, 41.0))
    ring.close(41.5)
    assert taken(ring) == [2]


def test_lossless_put_waits_until_the_worker_takes(aside: Callable[..., Future[object]]) -> None:
    ring = FrameRing(1, 2, lossless=True)
    for k in range(3):
        assert ring.put(frame(k, k))
    waiting = watched(ring)
    put = aside(ring.put, frame(3, 3.0))
    waiting.acquire()
    assert not put.done()
    first = ring.take()
    assert isinstance(first, Frame)
    assert first.index == 0
    assert put.result() is True
    assert len(ring) == 2


def test_lossless_close_waits_for_room_for_the_last_frame(
    aside: Callable[..., Future[object]],
) -> None:
    ring = FrameRing(1, 1, lossless=True)
    ring.put(frame(0, 0.0))
    ring.put(frame(1, 1.0))
    waiting = watched(ring)
    close = aside(ring.close, 2.0)
    waiting.acquire()
    assert taken(ring) == [0, 1]
    close.result()
    assert ring.end == 2.0


def test_take_waits_for_a_frame_or_the_end(aside: Callable[..., Future[object]]) -> None:
    ring = FrameRing(1, 2, lossless=True)
    waiting = watched(ring)
    take = aside(ring.take)
    waiting.acquire()
    ring.put(frame(0, 0.0))
    assert not take.done()  # frame 0's successor is not known
    ring.put(frame(1, 1.0))
    item = take.result()
    assert isinstance(item, Frame)
    assert item.index == 0
    waiting = watched(ring)
    take = aside(ring.take)
    waiting.acquire()
    ring.close()
    assert take.result() is None


def test_the_only_frame_is_kept_whatever_the_grid() -> None:
    ring = FrameRing(1, 2, lossless=True)
    ring.put(frame(0, 0.3))
    ring.close(0.34)
    assert taken(ring) == [0]


def test_closed_ring_takes_nothing_and_closes_once() -> None:
    ring = FrameRing(1, 4, lossless=True)
    ring.put(frame(0, 0.0))
    ring.close(1.0)
    ring.close(9.0)
    assert ring.put(frame(1, 2.0)) is False
    assert ring.advance(3.0) is False
    assert ring.end == 1.0
    assert taken(ring) == [0]


def test_abort_lets_the_source_and_the_worker_go(aside: Callable[..., Future[object]]) -> None:
    full, empty = FrameRing(1, 1, lossless=True), FrameRing(1, 1, lossless=True)
    full.put(frame(0, 0.0))
    full.put(frame(1, 1.0))
    for ring, call in ((full, lambda: full.put(frame(2, 2.0))), (empty, empty.take)):
        waiting = watched(ring)
        blocked = aside(call)
        waiting.acquire()
        ring.abort()
        assert not blocked.result()
    assert taken(full) == [0]


# Sound


def ramp(start: int, length: int) -> Floats:
    """Sound whose sample n is n + 1, so that none is silent."""
    return np.arange(start + 1, start + length + 1, dtype=np.float32)


def audio(samples: int, lossless: bool = False, start: int = 0) -> AudioRing:
    return AudioRing(samples / 16_000, lossless, start)


@given(
    st.integers(4, 60),
    st.integers(0, 50),
    st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 90), st.booleans())),
)
def test_sound_is_what_a_plain_array_holds(
    size: int, start: int, writes: list[tuple[int, int, bool]]
) -> None:
    ring, plain = audio(size, start=start), np.zeros(start, np.float32)
    for offset, length, advancing in writes:
        at = max(len(plain) + offset, 0)
        silence = np.zeros(max(at - len(plain), 0), np.float32)
        plain = np.concatenate([plain, silence])
        if advancing:
            assert ring.advance(at)
        else:
            assert ring.write(AudioChunk(at, ramp(at, length)))
            plain = np.concatenate([plain, ramp(at, length)[len(plain) - at :]])
        assert ring.end == len(plain)
        oldest = max(len(plain) - size, start)
        for a in range(oldest, len(plain) + 1, 7):
            assert ring.read(a, a) is None
            for b in range(a + 1, len(plain) + 1, 5):
                np.testing.assert_array_equal(ring.read(a, b), plain[a:b])
        assert ring.read(oldest - 1, len(plain)) is None
        assert ring.read(oldest, len(plain) + 1) is None
        assert ring.read(len(plain), oldest) is None


@given(st.lists(st.integers(1, 70), min_size=1), st.integers(1, 40))
def test_chunk_size_does_not_matter(cuts: list[int], regular: int) -> None:
    total = sum(cuts)
    irregular, even = audio(64), audio(64)
    at = 0
    for length in cuts:
        irregular.write(AudioChunk(at, ramp(at, length)))
        at += length
    for at in range(0, total, regular):
        even.write(AudioChunk(at, ramp(at, min(regular, total - at))))
    assert irregular.end == even.end == total
    oldest = max(total - 64, 0)
    np.testing.assert_array_equal(irregular.read(oldest, total), even.read(oldest, total))


def test_what_is_read_is_a_copy() -> None:
    ring = audio(8)
    ring.write(AudioChunk(0, ramp(0, 8)))
    before = ring.read(0, 8)
    ring.write(AudioChunk(8, ramp(8, 8)))
    np.testing.assert_array_equal(before, ramp(0, 8))


@pytest.mark.parametrize("step", ["write", "advance"])
def test_hold_blocks_a_lossless_writer(aside: Callable[..., Future[object]], step: str) -> None:
    ring = audio(8, lossless=True)
    ring.hold("a", 0)
    ring.hold("b", 4)
    assert ring.write(AudioChunk(0, ramp(0, 8)))
    waiting = watched(ring)
    if step == "write":
        blocked = aside(ring.write, AudioChunk(8, ramp(8, 2)))
    else:
        blocked = aside(ring.advance, 10)
    waiting.acquire()
    ring.hold("a", 1)  # room for one sample, not for two
    waiting.acquire()
    assert not blocked.done()
    np.testing.assert_array_equal(ring.read(1, 8), ramp(1, 7))
    ring.hold("a", 9)
    assert blocked.result() is True
    assert ring.end == 10
    assert ring.read(3, 4) is not None


def test_live_writer_overwrites_what_is_held() -> None:
    ring = audio(8)
    ring.hold("a", 0)
    assert ring.write(AudioChunk(0, ramp(0, 100)))
    assert ring.read(0, 8) is None
    np.testing.assert_array_equal(ring.read(92, 100), ramp(92, 8))


def test_wait_ends_with_the_sound_the_interruption_or_the_end(
    aside: Callable[..., Future[object]],
) -> None:
    ring, asked = audio(80), threading.Event()
    waiting = watched(ring)
    wait = aside(ring.wait, 10, asked.is_set)
    waiting.acquire()
    ring.write(AudioChunk(0, ramp(0, 9)))
    assert not wait.done()
    ring.write(AudioChunk(9, ramp(9, 1)))
    assert wait.result() is True

    waiting = watched(ring)
    wait = aside(ring.wait, 20, asked.is_set)
    waiting.acquire()
    asked.set()
    ring.wake()
    assert wait.result() is False

    asked.clear()
    waiting = watched(ring)
    wait = aside(ring.wait, 20, asked.is_set)
    waiting.acquire()
    ring.close()
    assert wait.result() is True


def test_pause_outlasts_the_sound(aside: Callable[..., Future[object]]) -> None:
    ring, asked = audio(80), threading.Event()
    waiting = watched(ring)
    pause = aside(ring.pause, asked.is_set)
    waiting.acquire()
    ring.write(AudioChunk(0, ramp(0, 9)))
    ring.close()
    assert not pause.done()
    asked.set()
    ring.wake()
    pause.result()


def test_close_lets_the_writer_go_and_nothing_more_in(
    aside: Callable[..., Future[object]],
) -> None:
    ring = audio(8, lossless=True)
    ring.hold("a", 0)
    ring.write(AudioChunk(0, ramp(0, 8)))
    for call in (lambda: ring.write(AudioChunk(8, ramp(8, 20))), lambda: ring.advance(100)):
        waiting = watched(ring)
        blocked = aside(call)
        if not ring.closed:
            waiting.acquire()
        ring.close()
        assert blocked.result() is False
        assert ring.end == 8
    assert ring.closed
    np.testing.assert_array_equal(ring.read(0, 8), ramp(0, 8))
