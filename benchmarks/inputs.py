"""Inputs for the benchmarks, made from the bundled demo clip."""

from fractions import Fraction
from pathlib import Path

import av

from streamer.resources import demo_clip


def repeat(path: Path, seconds: float, clip: Path | None = None) -> Path:
    """Write ``clip`` (default: the demo) again and again, without re-encoding, for ``seconds``."""
    shift = Fraction(0)
    with av.open(str(path), "w") as target:
        outputs: dict[int, av.stream.Stream] = {}
        while shift < seconds:
            with av.open(str(clip or demo_clip())) as source:
                for stream in source.streams:
                    if stream.index not in outputs:
                        outputs[stream.index] = target.add_stream_from_template(stream)
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    ticks = int(shift / packet.time_base)
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                    packet.stream = outputs[packet.stream.index]
                    target.mux(packet)
                # The sound may end a little after the picture: a frame's pause keeps time going on.
                shift += Fraction(source.duration or 0, av.time_base) + Fraction(1, 25)
    return path


def enlarged(path: Path, width: int = 1280, height: int = 720) -> Path:
    """Write the demo clip at another size: the picture fills the height, bars stand beside it."""
    with av.open(str(demo_clip())) as source, av.open(str(path), "w") as target:
        video, audio = source.streams.video[0], source.streams.audio[0]
        picture = target.add_stream("libx264", rate=25, options={"preset": "medium", "crf": "20"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        sound = target.add_stream_from_template(audio)
        graph = av.filter.Graph()
        chain = [
            graph.add_buffer(template=video),
            graph.add("scale", f"-2:{height}"),
            graph.add("pad", f"{width}:{height}:(ow-iw)/2:0"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*chain).configure()
        for packet in source.demux(video, audio):
            if packet.stream is audio:
                if packet.dts is not None:
                    packet.stream = sound
                    target.mux(packet)
                continue
            for frame in packet.decode():
                graph.push(frame)
                scaled = graph.pull()
                scaled.pict_type = av.video.frame.PictureType.NONE
                target.mux(picture.encode(scaled))
        target.mux(picture.encode())
    return path
