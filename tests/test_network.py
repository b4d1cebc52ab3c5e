"""Network streams over loopback: in order and in step, and while they break and return."""

import re
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from queue import Queue
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import (
    FPS,
    PATIENCE_S,
    Encoded,
    Sinks,
    ended,
    free_port,
    mjpeg,
    report,
    running,
    sender,
    settings,
)
from media import Audio, lag, make_clip, picture
from rtmp import rtmp
from rtsp import rtsp
from serving import serving

from streamer.clock import LiveClock, monotonic
from streamer.sources import network as module
from streamer.sources.capture import Datum, masked
from streamer.sources.network import PROTOCOLS, Anchor, NetworkStream
from streamer.types import SAMPLE_RATE, AudioChunk, Frame, StreamerError


def assert_in_step(sinks: Sinks, seconds: float = 1.0) -> None:
    """The sound is as far from the pictures of its time as it was sent, within 40 ms."""
    shift = median(s.t - s.number / FPS for s in sinks.seen)
    pieces = sinks.chunks[-round(seconds * SAMPLE_RATE / len(sinks.chunks[-1].pcm)) :]
    assert all(b.start == a.start + len(a.pcm) for a, b in pairwise(pieces)), "gaps in the sound"
    pcm = np.concatenate([chunk.pcm for chunk in pieces])
    late, likeness = lag(pcm, pieces[0].start / SAMPLE_RATE - shift)
    print(f"\nsound after its pictures, ms: {late / SAMPLE_RATE * 1e3:.1f}")
    assert likeness > 0.8
    assert abs(late) < 0.04 * SAMPLE_RATE


def assert_ordered(sinks: Sinks) -> None:
    times = [s.t for s in sinks.seen]
    assert all(b > a for a, b in pairwise(times))
    assert sinks.sound_closed == len(sinks.ends) == 1


def test_udp_stream_gives_picture_and_sound_in_step_and_soon() -> None:
    port, sent = free_port(), dict[int, float]()
    sinks, clock = Sinks(), LiveClock()
    with sender(port, sent):
        stream = NetworkStream(f"udp://127.0.0.1:{port}", clock, settings(stall_s=5))
        assert (stream.info.has_video, stream.info.has_audio) == (True, True)
        with running(stream, sinks, sinks.sound):
            sinks.until(lambda: len(sinks.seen) >= 75)
    ended(stream)
    numbers = [s.number for s in sinks.seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert_ordered(sinks)
    assert_in_step(sinks)
    report("UDP MPEG-TS", clock, sinks.seen, sent)
    assert stream.state.detail.startswith("128×64 h264, aac 48 kHz, 2")
    assert stream.state.losses == 0
    assert stream.state.level is not None
    assert -20 < stream.state.level < 0
    assert stream.problems == []


def test_udp_stream_that_breaks_and_begins_anew_is_a_gap() -> None:
    port, sinks = free_port(), Sinks()
    with sender(port):
        stream = NetworkStream(f"udp://127.0.0.1:{port}", LiveClock(), settings())
        work = ExitStack()
        work.enter_context(running(stream, sinks, sinks.sound))
        sinks.until(lambda: len(sinks.seen) > 10)
    with work:
        sinks.until(lambda: len(sinks.happened("nothing seen")) > 3)
        sinks.until(lambda: len(sinks.happened("nothing heard")) > 3)
        assert stream.state.status == "lost"
        before = len(sinks.seen)
        with sender(port):  # its stamps begin at zero again
            sinks.until(lambda: len(sinks.seen) > before + 30)
            assert stream.state.status == "running"
    ended(stream)
    assert_ordered(sinks)
    assert stream.state.losses >= 1
    assert stream.state.lost_s > 0.4  # from the last datum that was handed over
    (before_gap, after_gap) = sinks.seen[before - 1], sinks.seen[before]
    assert after_gap.t - before_gap.t > 0.5


def test_rtsp_stream_is_in_step_and_comes_back() -> None:
    with rtsp() as server:
        sinks, clock = Sinks(), LiveClock()
        url = f"rtsp://me:secret@127.0.0.1:{server.port}/live"
        stream = NetworkStream(url, clock, settings(stall_s=2))
        assert (stream.info.has_video, stream.info.has_audio) == (True, True)
        assert "secret" not in stream.info.name
        with running(stream, sinks, sinks.sound):
            sinks.until(lambda: len(sinks.seen) >= 60)
            shown, sent = list(sinks.seen), dict(server.sent)
            assert_in_step(sinks)
            server.cut.set()
            sinks.until(lambda: stream.state.status == "lost")
            server.cut.clear()
            sinks.until(lambda: len(sinks.seen) > len(shown) + 20)
        ended(stream)
    assert [b.number - a.number for a, b in pairwise(shown)] == [1] * (len(shown) - 1)
    assert_ordered(sinks)
    report("RTSP", clock, shown, sent)
    assert stream.state.losses == 1
    assert server.asked.count("PLAY") == 2
    assert stream.state.detail.startswith("128×64 h264, pcm_s16be 16 kHz, 2")


def test_rtmp_stream_is_in_step() -> None:
    sinks, clock = Sinks(), LiveClock()
    with rtmp() as server:
        url = f"rtmp://127.0.0.1:{server.port}/live/x"
        stream = NetworkStream(url, clock, settings(stall_s=5))
        assert (stream.info.has_video, stream.info.has_audio) == (True, True)
        with running(stream, sinks, sinks.sound):
            sinks.until(lambda: len(sinks.seen) >= 50)
    ended(stream)
    assert [b.number - a.number for a, b in pairwise(sinks.seen)] == [1] * (len(sinks.seen) - 1)
    assert_ordered(sinks)
    assert_in_step(sinks)
    report("RTMP", clock, sinks.seen, server.sent)


def test_mjpeg_server_is_read_by_arrival_and_connected_again() -> None:
    with mjpeg() as server:
        clock, sinks = LiveClock(), Sinks()
        stream = NetworkStream(server.url, clock, settings())
        assert (stream.info.has_video, stream.info.has_audio) == (True, False)
        with running(stream, sinks, sinks.sound):
            sinks.until(lambda: len(sinks.seen) >= 60)
            shown, sent = list(sinks.seen), dict(server.sent)
            server.cut.set()
            sinks.until(lambda: len(sinks.happened("nothing seen")) > 3)
            assert stream.state.status == "lost"
            server.cut.clear()
            sinks.until(lambda: len(sinks.seen) > len(shown) + 5)
        ended(stream)
    assert [b.number - a.number for a, b in pairwise(shown)] == [1] * (len(shown) - 1)
    assert_ordered(sinks)
    report("HTTP MJPEG", clock, shown, sent)
    assert stream.state.losses == 1


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """A web server of the files in a folder; its address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Handler, directory=str(folder))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield f"http://127.0.0.1:{port}"


def encode(url: str, format_: str, seconds: float) -> None:
    encoded = Encoded(url, format_)
    for number in range(round(seconds * FPS)):
        encoded.write(number)
    encoded.close()


def test_hls_comes_in_bursts_and_is_handed_on_in_its_time(tmp_path: Path) -> None:
    encode(str(tmp_path / "live.m3u8"), "hls", 6)
    lines = (tmp_path / "live.m3u8").read_text().splitlines()
    (tmp_path / "live.m3u8").write_text("\n".join(line for line in lines if "ENDLIST" not in line))
    clock, sinks = LiveClock(), Sinks()
    with web(tmp_path) as address:
        stream = NetworkStream(f"{address}/live.m3u8", clock, settings(stall_s=5))
        assert (stream.info.has_video, stream.info.has_audio) == (True, True)
        with running(stream, sinks, sinks.sound):
            sinks.until(lambda: len(sinks.seen) >= 75)
    ended(stream)
    assert [b.number - a.number for a, b in pairwise(sinks.seen)] == [1] * (len(sinks.seen) - 1)
    assert_ordered(sinks)
    assert_in_step(sinks)
    waited = [s.at - (clock.origin + s.t) for s in sinks.seen]
    assert min(waited) > -0.1, "handed on before its time"
    assert sorted(waited)[len(waited) // 2] < 0.2


def test_sound_alone_is_a_stream_too(tmp_path: Path) -> None:
    make_clip(tmp_path / "radio.mp3", audio=Audio([(0, 9)], "libmp3lame", 44_100, format="s16p"))
    sinks = Sinks()
    with web(tmp_path) as address:
        stream = NetworkStream(f"{address}/radio.mp3", LiveClock(), settings())
        assert (stream.info.has_video, stream.info.has_audio) == (False, True)
        with running(stream, sinks, sinks.sound):
            sinks.until(lambda: len(sinks.chunks) > 40)
    ended(stream)
    assert_ordered(sinks)
    assert all(b.start == a.start + len(a.pcm) for a, b in pairwise(sinks.chunks))
    assert stream.state.losses == 0
    assert sinks.seen == []


@pytest.mark.parametrize("scheme", ["file:", "concat:", ""])
def test_playlist_reaches_for_no_file_of_this_computer(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "web").mkdir()
    encode(str(tmp_path / "secret.ts"), "mpegts", 2)
    target = f"{scheme}{tmp_path}/secret.ts"
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.0,\n"
    (tmp_path / "web" / "list.m3u8").write_text(f"{head}{target}\n#EXT-X-ENDLIST\n")
    with web(tmp_path / "web") as address, pytest.raises(StreamerError, match=r"^http://127"):
        NetworkStream(f"{address}/list.m3u8", LiveClock(), settings())


def test_refusals_are_one_clear_line_without_the_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.html").write_text("<html>no media</html>" * 99)
    with web(tmp_path) as address:
        host = address.removeprefix("http://")
        cases = {
            f"http://me:secret@{host}/none?key=secret": "the server does not know it (404)",
            f"http://me:secret@{host}/text.html": "not media that FFmpeg can read",
            f"http://me:secret@127.0.0.1:{free_port()}/": "connection refused: is it running?",
            f"rtsp://me:secret@127.0.0.1:{free_port()}/a": "connection refused: is it running?",
            f"rtmp://me:secret@127.0.0.1:{free_port()}/a": "connection refused: is it running?",
            "file:///secret/passwd": "give a URL that begins with http, ",
            "movie.mp4": "give a URL that begins with http, ",
            "concat:secret": "give a URL that begins with http, ",
        }
        for url, reason in cases.items():
            with pytest.raises(StreamerError) as caught:
                NetworkStream(url, LiveClock(), settings())
            text = str(caught.value)
            assert reason in text
            assert "\n" not in text
            assert "secret" not in text or "@" not in url
    assert capfd.readouterr() == ("", ""), "something was written over the dashboard"


def test_an_address_where_nothing_comes_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "OPEN_S", 0.3)
    began = monotonic()
    with pytest.raises(StreamerError, match=r"^udp://127\.0\.0\.1:\d+: no answer in time$"):
        NetworkStream(f"udp://127.0.0.1:{free_port()}", LiveClock(), settings())
    assert monotonic() - began < 5


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:pw@cam.local:554/live", "rtsp://***@cam.local:554/live"),
        ("http://host/video?token=abc", "http://host/video?…"),
        ("rtsp://a:p@ss@host/x", "rtsp://***@host/x"),
        ("udp://[::1]:5000", "udp://[::1]:5000"),
        ("http://me:pw@[::1", "http://***@[::1"),
        ("rtsp:/me:pw@host/x", "rtsp:/***@host/x"),
        ("rtsp://a:p/a?s#s@host/x", "rtsp://***"),
        ("http://host/x#y", "http://host/x#…"),
        (
            "rtsp://h/user=admin&password=pw&channel=1",
            "rtsp://h/user=…&password=…&channel=1",
        ),
        ("rtsp://h/x;PassWd=p/w;stream=0", "rtsp://h/x;PassWd=…;stream=0"),
        ("rtsp://h/user=admin_password=pw_channel=1", "rtsp://h/user=…"),
        ("0", "0"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_what_is_secret_in_an_address_is_not_shown(url: str, shown: str) -> None:
    assert masked(url) == shown


FORMS = [
    "{scheme}://user:{secret}@host:554/x",
    "{scheme}:/user:{secret}@host/x",
    "{scheme}://{secret}@host/x@y",
    "user:{secret}@host",
    "{scheme}://host/x?key={secret}",
    "{scheme}://host/x#{secret}",
    "{scheme}://host/user=admin&password={part}&channel=1",
    "{scheme}://host/x;pwd={part};stream=0",
    "{scheme}://user:{secret}@host/token={part}/x",
]


@given(
    form=st.sampled_from(FORMS),
    scheme=st.sampled_from([*PROTOCOLS, "RTSP", "foo"]),
    secret=st.text(min_size=1, max_size=9),
)
def test_no_secret_of_an_address_is_shown(form: str, scheme: str, secret: str) -> None:
    secret = f"Geheim{secret}Wort"
    part = re.sub("[&;]", "", secret)  # these end it there
    shown = masked(form.format(scheme=scheme, secret=secret, part=part))
    assert "Geheim" not in shown
    assert "Wort" not in shown


def test_a_scheme_may_be_in_capitals() -> None:
    with mjpeg() as server:
        stream = NetworkStream(server.url.replace("http", "HTTP"), LiveClock(), settings())
        stream.close()
    ended(stream)


def test_stop_ends_it_while_a_read_blocks() -> None:
    with mjpeg() as server:
        stream, sinks = NetworkStream(server.url, LiveClock(), settings(stall_s=30)), Sinks()
        with running(stream, sinks, sinks.sound) as stop:
            sinks.until(lambda: sinks.seen)
            server.silent.set()
            began = monotonic()
            stop.set()
        assert monotonic() - began < 1
        assert_ordered(sinks)
    ended(stream)  # the server is gone, and so is what held it


def test_stop_ends_it_while_it_connects() -> None:
    with mjpeg() as server, socket.create_server(("127.0.0.1", 0)) as deaf:
        stream, sinks = NetworkStream(server.url, LiveClock(), settings()), Sinks()
        with ExitStack() as held:
            with running(stream, sinks, sinks.sound) as stop:
                stream._url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
                server.cut.set()
                held.enter_context(deaf.accept()[0])  # and never answers
                began = monotonic()
                stop.set()
            assert monotonic() - began < 1
        ended(stream)


def test_live_stamps_follow_the_earliest_arrival() -> None:
    anchor = Anchor(live=True)
    assert [anchor.wait_s(k / 10, 5.0 + k / 1000) for k in range(10)] == [0] * 10  # a backlog
    assert anchor.offset == pytest.approx(5.009 - 0.9, abs=0.031)
    offset = anchor.offset
    for k in range(10, 200):  # jitter makes data late, not the clock
        anchor.wait_s(k / 10, k / 10 + offset + (0.2 if k % 10 else 0.0))
    assert anchor.offset == offset
    for k in range(200, 320):  # but what is late for long is tied anew: latency does not grow
        anchor.wait_s(k / 10, k / 10 + offset + 0.5)
    assert anchor.offset == pytest.approx(offset + 0.5)
    assert anchor.jumps == 0
    anchor.wait_s(0.0, 60.0)
    assert (anchor.offset, anchor.jumps) == (60.0, 1)


def test_a_senders_clock_that_is_off_is_followed() -> None:
    for ppm in (-500, 500):
        anchor = Anchor(live=True)
        for k in range(3600 * 25):
            stamp = k / 25
            arrival = 7.0 + stamp * (1 + ppm * 1e-6)
            anchor.wait_s(stamp, arrival)
            assert abs(arrival - stamp - anchor.offset) < module.LATE_S + 0.01
        assert anchor.jumps == 0


def test_stored_media_waits_for_its_time() -> None:
    anchor = Anchor(live=False)
    assert anchor.wait_s(100.0, 5.0) == 0
    assert anchor.wait_s(103.0, 5.5) == pytest.approx(2.5)
    assert anchor.wait_s(103.0, 8.2) == 0
    assert anchor.wait_s(203.0, 8.2) == 0  # a jump
    assert anchor.jumps == 1


class Fed(NetworkStream):
    """A stream that gives what it is fed (None: it ends)."""

    def __init__(self, clock: LiveClock, **live: object) -> None:
        self.feed: Queue[Datum | None] = Queue()
        self.show(0)
        super().__init__("udp://fed", clock, settings(**live))

    def show(self, *times: float) -> None:
        for t in times:
            self.feed.put(Frame(t, 0, lambda: np.repeat(picture(0)[..., None], 3, axis=2)))

    def sound(self, t: float) -> None:
        self.feed.put(AudioChunk(round(t * SAMPLE_RATE), np.zeros(160, np.float32)))

    def _read(self) -> Generator[Datum, None, None]:
        yield from iter(partial(self.feed.get, timeout=PATIENCE_S), None)


@pytest.mark.parametrize("offset", [-3.0, 0.0, 3.0])
def test_the_offset_moves_the_pictures_and_leaves_the_sound(offset: float) -> None:
    clock, sinks = LiveClock(), Sinks()
    clock.origin -= 100  # so long has the session gone on
    stream = Fed(clock, av_offset_s=offset, stall_s=PATIENCE_S)
    with running(stream, sinks, sinks.sound):
        # Of these four, the second is from before the session, and the last is late.
        stream.show(130 + offset, -0.5, 100 + offset, 99 + offset)
        stream.sound(130)
        stream.sound(100)
        sinks.until(lambda: sinks.chunks, "the sound")
        stream.feed.put(None)
    ended(stream)
    assert [seen.t for seen in sinks.seen] == [100 + offset]
    assert [chunk.start for chunk in sinks.chunks] == [100 * SAMPLE_RATE]
    assert stream.state.dropped == 1
