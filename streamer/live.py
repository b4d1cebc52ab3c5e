"""A live session from options to exit status: devices, consent, keys, recording."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Event

from rich.console import Console, RenderableType

from streamer import calibrate, liveview
from streamer import config as configuration
from streamer.clock import FreeClock, LiveClock, monotonic, today
from streamer.config import Config
from streamer.consent import ask_once
from streamer.dashboard import Live
from streamer.keys import Keyboard, Keys, Note
from streamer.memory import return_pictures
from streamer.pipeline import Models, Pipeline
from streamer.preview import Preview
from streamer.recorder import Recorder
from streamer.run import Job, Outcome, busy, first_tables, run_job, tell_once
from streamer.sources.camera import Camera
from streamer.sources.file import FileSource
from streamer.sources.live import Deaf, LiveSource, Part
from streamer.sources.microphone import Microphone
from streamer.sources.network import NetworkStream
from streamer.sources.portaudio import NoMicrophoneError, quiet
from streamer.tables import Markers, new_session
from streamer.types import SAMPLE_RATE, Source, StreamerError

RECORDING = "recording.mkv"
PREVIEW = (48, 24)
"""The small picture's greatest size, characters."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What the user asked of a live session. ``camera`` and ``microphone``: None is none;
    ``duration`` None: until stopped.
    """

    camera: str | None
    microphone: str | None
    duration: float | None
    yes: bool
    record: bool
    preview: bool
    out: Path
    session: str | None
    config: Path | None
    settings: list[str]
    dashboard: bool | None
    quiet: bool
    predictions: bool


def live_session(options: LiveOptions, console: Console) -> Outcome:
    """Analyse what the devices give, until stopped. Raises StreamerError."""
    config = configuration.load(options.config, options.settings)
    if options.camera is None and options.microphone is None:
        raise StreamerError("--camera none and --mic none: there is nothing to analyse")
    with busy(console, "Loading the models…"):
        loaded = Models.load(config)
    tell_once(loaded, console)
    manifests = [model.manifest for model in loaded.all()]
    ask_once(manifests, console, yes=options.yes, record=options.record)
    return_pictures()
    clock, stop = LiveClock(), Event()
    with ExitStack() as stack:
        screen = Console(file=stack.enter_context(quiet()), highlight=False, emoji=False)
        with busy(screen, "Opening the devices…"):
            devices = options.camera, options.microphone
            try:
                source = open_devices(*devices, config, clock, options.duration)
            except NoMicrophoneError as error:
                otherwise = ", or use --mic none" if options.camera is not None else ""
                raise StreamerError(f"{error}{otherwise}") from None
        stack.callback(source.close)
        now = today()
        folder = new_session(options.out, options.session, "live", now)
        desk = Desk(source, clock, stop, folder, options.preview, stack)
        recorder = None
        if options.record:
            recorder = Recorder(source, folder / RECORDING, config.live.record)
        desk.recorder = recorder
        recorded: Source = recorder or source
        shown = screen.is_terminal and not options.quiet
        job = Job(
            *(recorded, loaded, config, clock, stop, now, source.info.name, "live"),
            shown if options.dashboard is None else options.dashboard,
            lambda: first_tables(folder, loaded, options.predictions),
            {},
            desk,
        )
        return run_job(job, screen, source.info.name)


def measure(
    file: Path | None,
    camera: str | None,
    microphone: str | None,
    duration: float,
    config: Config,
    console: Console,
) -> None:
    """Measure the offset between the picture and the sound of devices, or of a recorded clip."""
    if file is not None:
        clip = FileSource(file, FreeClock(), 0.0, duration, config.face.max_px)
        calibrate.run(clip, duration, console, how=False)
        return
    with quiet() as file_descriptor:
        screen = Console(file=file_descriptor, highlight=False, emoji=False)
        screen.soft_wrap = not screen.is_terminal
        with busy(screen, "Opening the devices…"):
            source = open_devices(camera, microphone, config, LiveClock())
        calibrate.run(source, duration, screen, config.live.av_offset_s)


def open_devices(
    camera: str | None,
    microphone: str | None,
    config: Config,
    clock: LiveClock,
    duration: float | None = None,
) -> LiveSource:
    """Open the camera or stream, and the microphone. Raises StreamerError; then none stays open."""
    live, parts = config.live, list[Part]()
    try:
        if microphone is not None:
            ear = Microphone(microphone, clock, live)
            parts.append(Part(ear, False, True, lambda _, audio, stop: ear.run(audio, stop)))
        if camera is not None and "://" in camera:
            stream = NetworkStream(camera, clock, live, config.face.max_px)
            parts.append(_stream_part(stream, wanted=microphone is None))
        elif camera is not None:
            eye = Camera(camera, clock, live, config.face.max_px)
            parts.append(Part(eye, True, False, lambda frames, _, stop: eye.run(frames, stop)))
    except BaseException:
        for part in parts:
            part.device.close()
        raise
    return LiveSource(clock, parts, duration)


def _stream_part(stream: NetworkStream, wanted: bool) -> Part:
    """A stream; its sound too where it is ``wanted``."""
    if wanted:
        return Part(stream, stream.info.has_video, stream.info.has_audio, stream.run)
    if not stream.info.has_video:
        stream.close()
        raise StreamerError(f"{stream.state.name}: no picture in it; leave out --mic for its sound")
    return Part(stream, True, False, lambda frames, _, stop: stream.run(frames, Deaf(), stop))


class Desk:
    """The keys, the markers and the devices of a live session. ``stack`` gives back what it took:
    the terminal and the file of the markers.
    """

    def __init__(
        self,
        source: LiveSource,
        clock: LiveClock,
        stop: Event,
        folder: Path,
        preview: bool,
        stack: ExitStack,
    ) -> None:
        self._source, self._clock, self._stop, self._preview = source, clock, stop, preview
        self._keyboard, self._keys = stack.enter_context(Keyboard()), Keys()
        self._markers = Markers(folder)
        stack.callback(self._markers.close)
        self._quit = False
        self.recorder: Recorder | None = None

    def tick(self) -> None:
        """Do what the keys say."""
        self._markers.save()
        for action in self._keys.press(self._keyboard.read(), self._clock.media(monotonic())):
            match action:
                case "quit":
                    self._quit = True
                    self._stop.set()
                case "pause" if self._source.paused.is_set():
                    self._source.paused.clear()
                case "pause":
                    self._source.paused.set()
                case Note():
                    self._markers.add(action.t, action.text)

    def view(self, pipeline: Pipeline) -> Live:
        """What the dashboard shows of it."""
        paused = self._source.paused.is_set()
        info, pictures, sound = self._source.info, None, None
        if info.has_video:
            pictures = len(pipeline.frames)
        if info.has_audio:
            sound = max(pipeline.audio.end - pipeline.speech.heard, 0) / SAMPLE_RATE
        stored = self._markers.count - self._markers.unsaved
        keys = self._keyboard.active, self._keys.editing, stored, paused
        bottom = partial(liveview.keys, *keys)
        picture: RenderableType | None = None
        if self._preview and (image := pipeline.face.picture) is not None:
            picture = Preview(image, *PREVIEW)
        lost = self.recorder.lost if self.recorder else 0
        slowed = [*_slowed(pipeline), *([f"{lost} not recorded"] if lost else [])]
        waiting, slow = (pictures, sound), ", ".join(slowed)
        return Live(self._source.devices, waiting, slow, bottom, paused, picture)

    def summary(self) -> dict[str, object]:
        """What session.json says of it at the end, which ends a note that is being typed, too."""
        if (note := self._keys.finish()) is not None:
            self._markers.add(note.t, note.text)
        about: dict[str, object] = {
            "devices": [asdict(state) for state in self._source.devices],
            "markers": self._markers.count,
        }
        if self._markers.unsaved:
            about["markers_unsaved"] = self._markers.unsaved
        if self._quit:
            about["ended_by"] = "quit"
        if self.recorder is not None:
            about["recording"] = {"file": RECORDING, "lost": self.recorder.lost}
        return about


def _slowed(pipeline: Pipeline) -> list[str]:
    """What the models' pace was lowered to, in words; empty: nothing."""
    faces, voice = pipeline.face.pace, pipeline.speech.pace
    said = []
    if faces.stride > 1:
        said.append(f"{1 / (faces.period_s * faces.stride):.3g} faces/s")
    if voice.stride > 1:
        said.append(f"voice every {voice.period_s * voice.stride:.3g} s")
    return said
