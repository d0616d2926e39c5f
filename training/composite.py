"""Composite clips: a face from one data set and a voice from another, of the same emotion, in a real video file.

They stand in for an audio-visual set where none can be had: for trying the whole procedure, and for measuring how a
fused label does beside its branches. A face and a voice of one clip are not one person, and the face only drifts.
"""

import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageFilter

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from emolabel.types import Float32Array
from training.datasets.files import write_whole
from training.datasets.manifest import DataSet, Sample

_SIDE_PX, _FACE_PX, _FPS, _RATE_HZ = 240, 130, 10, 16_000


def make_composites(
    faces: Sequence[Sample], voices: Sequence[Sample], folder: Path, per_class: int, seed: int
) -> DataSet:
    """Write MP4 files to `folder`; each voice and each face is used once at most.

    Voices are taken from all subjects alike. The subject of a clip is that of its voice, its split too.

    Raises:
        TrainingError: a class has no faces or no voices, or a file cannot be read or written.
    """
    random = np.random.default_rng(seed)
    samples = []
    for label in EMOTIONS:
        pairs = zip(_shuffled(faces, label, random), _in_turns(voices, label, random), strict=False)
        made = 0
        for made, (face, voice) in enumerate(pairs, start=1):
            path = (folder / f"{label}-{made - 1:04d}.mp4").absolute()
            write_whole(path, _clip(Path(face.uri), Path(voice.uri), random))
            samples.append(Sample(str(path), label, voice.subject, voice.split, dataset="composite"))
            if made == per_class:
                break
        if not made:
            raise TrainingError(f"no face or no voice is {label}: composites need both for each emotion")
    return DataSet("composite", tuple(samples))


def _shuffled(samples: Sequence[Sample], label: str, random: np.random.Generator) -> list[Sample]:
    chosen = [sample for sample in samples if sample.label == label]
    return [chosen[n] for n in random.permutation(len(chosen))]


def _in_turns(voices: Sequence[Sample], label: str, random: np.random.Generator) -> Iterator[Sample]:
    """One voice of each subject, then a second one of each, and so on."""
    by_subject = defaultdict(list)
    for voice in _shuffled(voices, label, random):
        by_subject[voice.subject].append(voice)
    for turn in range(max(map(len, by_subject.values()), default=0)):
        yield from (theirs[turn] for theirs in by_subject.values() if turn < len(theirs))


def _clip(face: Path, voice: Path, random: np.random.Generator) -> bytes:
    try:
        picture = Image.open(face).convert("RGB").resize((_FACE_PX, _FACE_PX), Image.Resampling.BICUBIC)
        sound = _sound_of(voice)
    except (OSError, av.error.FFmpegError) as error:
        raise TrainingError(f"cannot make a clip of {face} and {voice}: {error}") from error
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=_FPS)
        video.width, video.height, video.pix_fmt, video.bit_rate = _SIDE_PX, _SIDE_PX, "yuv420p", 1_500_000
        audio = container.add_stream("aac", rate=_RATE_HZ, layout="mono")
        phase, tilt = random.uniform(0, 6), random.uniform(-4, 4)
        for number in range(max(1, round(len(sound) / _RATE_HZ * _FPS))):
            frame = av.VideoFrame.from_ndarray(np.asarray(_shown(picture, number / _FPS + phase, tilt)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), format="fltp", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = _RATE_HZ, 0, Fraction(1, _RATE_HZ)
        container.mux(audio.encode(heard))
        container.mux(audio.encode())
    return file.getvalue()


def _shown(face: Image.Image, seconds: float, tilt_deg: float) -> Image.Image:
    """The face before a blurred copy of itself, drifting a little."""
    picture = face.resize((_SIDE_PX, _SIDE_PX)).filter(ImageFilter.GaussianBlur(20))
    middle = (_SIDE_PX - _FACE_PX) // 2
    place = middle + round(8 * math.sin(0.9 * seconds)), middle + round(5 * math.sin(1.3 * seconds))
    turned = face.rotate(tilt_deg * math.sin(0.6 * seconds), Image.Resampling.BICUBIC)
    inside = Image.new("L", face.size, 255).rotate(tilt_deg * math.sin(0.6 * seconds), Image.Resampling.BICUBIC)
    picture.paste(turned, place, inside)
    return picture


def _sound_of(path: Path) -> Float32Array:
    """(n,) mono at the clip's rate."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=_RATE_HZ)
    with av.open(str(path)) as container:
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        parts += resampler.resample(None)
    sound: Float32Array = np.concatenate([part.to_ndarray()[0] for part in parts])
    return sound
