"""Short clips to try the software on where no video is at hand: made on the spot, nothing is downloaded.

The faces are portraits that ship inside installed packages (both are public-domain photographs): matplotlib's Grace
Hopper, and, where the extra `demo` is installed, scikit-image's Eileen Collins. The camera moves over them slowly. The
voices are synthetic vowels. A demo of the machinery, then, not of how well emotions are told apart.
"""

import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import av
import av.codec.codec
import av.container
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageOps

from emolabel.types import Float32Array, Float64Array

WIDTH, HEIGHT, FPS = 640, 360, 25
SAMPLE_RATE_HZ: Final = 22_050
FORMANTS_HZ: Final = (730.0, 1090.0, 2440.0)
"""Of the vowel in "father", men's average (Peterson & Barney 1952)."""

Camera: TypeAlias = Callable[[float], Image.Image]
"""What is seen at a time in seconds."""


@dataclass(frozen=True)
class _Portrait:
    image: Image.Image
    face_x: float
    """Middle of the face, in pixels of the image."""
    face_y: float
    face_px: float
    """Height of the face."""


@dataclass(frozen=True)
class _Clip:
    name: str
    seconds: float
    camera: Camera
    pitch_hz: float | None
    """Of the voice; None: no audio stream."""
    rotation_deg: int = 0
    """Counter-clockwise turn that players apply, as the tag of a phone held upright says."""


def make_demo_clips(folder: Path) -> list[Path]:
    """Makes the demo clips that `folder` lacks; those that are there stay as they are.

    Seven files: a long clip (several windows), a short one, two faces side by side, one without a face, one without
    sound, one filmed upright with a rotation tag (where this PyAV can write it), and one that is broken on purpose.

    Returns:
        The paths of all of them, sorted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = {name: make for name, make in _recipes().items() if not (folder / name).exists()}
    for name, make in missing.items():
        unfinished = folder / f".{name}.part"
        unfinished.write_bytes(make())
        os.replace(unfinished, folder / name)
    return sorted(folder / name for name in _recipes())


def _recipes() -> dict[str, Callable[[], bytes]]:
    """File name to what makes its bytes."""
    hopper = _hopper()
    second = _collins() or replace(hopper, image=ImageOps.mirror(hopper.image), face_x=512 - hopper.face_x)
    clips = [
        _Clip("long.mp4", 25.0, _moving(hopper, WIDTH, HEIGHT), pitch_hz=190.0),
        _Clip("short.mp4", 6.0, _moving(second, WIDTH, HEIGHT), pitch_hz=220.0),
        _Clip("two_faces.mp4", 5.0, _side_by_side(hopper, second), pitch_hz=205.0),
        _Clip("no_face.mp4", 4.0, _plasma, pitch_hz=120.0),
        _Clip("no_sound.mp4", 5.0, _moving(hopper, WIDTH, HEIGHT, phase=2.0), pitch_hz=None),
    ]
    if hasattr(av.VideoStream, "set_display_rotation"):  # not in every PyAV from 16 on
        upright = _moving(second, HEIGHT, WIDTH, phase=1.0)
        clips.append(_Clip("upright_phone.mp4", 4.0, upright, pitch_hz=240.0, rotation_deg=-90))
    recipes: dict[str, Callable[[], bytes]] = {clip.name: partial(_encoded, clip) for clip in clips}
    recipes["broken.mp4"] = lambda: _cut_short(_encoded(replace(clips[1], seconds=2.0)))
    return recipes


def _hopper() -> _Portrait:
    path = get_sample_data("grace_hopper.jpg", asfileobj=False)
    return _Portrait(Image.open(path).convert("RGB"), face_x=265, face_y=230, face_px=220)


def _collins() -> _Portrait | None:
    try:
        from skimage.data import astronaut
    except ImportError:  # the extra `demo` is not installed
        return None
    return _Portrait(Image.fromarray(astronaut()), face_x=224, face_y=117, face_px=110)


def _moving(portrait: _Portrait, width: int, height: int, phase: float = 0.0) -> Camera:
    """A camera that slowly pans and zooms over a portrait, the face always in view."""
    image, aspect = portrait.image, width / height
    widest = min(image.height, image.width / aspect, 3 * portrait.face_px)

    def camera(t: float) -> Image.Image:
        view_h = widest * (0.93 + 0.07 * math.sin(0.9 * t + phase))
        view_w = view_h * aspect
        x = portrait.face_x + 0.12 * view_w * math.sin(0.7 * t + phase)
        y = portrait.face_y + 0.03 * view_h * math.sin(1.1 * t + phase)
        left = min(max(x - view_w / 2, 0), image.width - view_w)
        top = min(max(y - view_h / 2, 0), image.height - view_h)
        # `box` takes fractions of pixels: whole ones would make the picture tremble.
        box = (left, top, left + view_w, top + view_h)
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)

    return camera


def _side_by_side(left: _Portrait, right: _Portrait) -> Camera:
    halves = _moving(left, WIDTH // 2, HEIGHT), _moving(right, WIDTH // 2, HEIGHT, phase=3.0)

    def camera(t: float) -> Image.Image:
        picture = Image.new("RGB", (WIDTH, HEIGHT))
        for i, half in enumerate(halves):
            picture.paste(half(t), (i * WIDTH // 2, 0))
        return picture

    return camera


def _plasma(t: float) -> Image.Image:
    """A test card of slowly flowing colours."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) / HEIGHT
    field = np.sin(6 * x + t) + np.sin(5 * y - 0.7 * t) + np.sin(4 * (x + y) + 0.5 * t)
    channels = [127.5 + 127.5 * np.sin(field * math.pi / 2 + shift) for shift in (0.0, 2.1, 4.2)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def _voice(seconds: float, pitch_hz: float) -> Float32Array:
    """A synthetic voice: syllables of one vowel, the pitch rising and falling. (n,) in [-1, 1]."""
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch: Float64Array = pitch_hz * (1 + 0.15 * np.sin(2 * np.pi * 0.4 * t) + 0.02 * np.sin(2 * np.pi * 5.5 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    sound = np.zeros_like(t)
    for harmonic in range(1, int(4000 / pitch_hz)):
        resonance = sum(1 / (1 + ((harmonic * pitch - formant) / 90) ** 2) for formant in FORMANTS_HZ)
        sound += (0.05 + resonance) / harmonic * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 2.2 * t), 0, None) ** 0.5
    phrases = np.sin(2 * np.pi * 0.3 * t) > -0.8
    sound *= syllables * phrases
    loudest = float(np.abs(sound).max())
    return np.asarray(0.5 * sound / loudest, dtype=np.float32)


def _encoded(clip: _Clip) -> bytes:
    """The clip as an MP4 file."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = _add_video(container)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate = 800_000
        audio = None if clip.pitch_hz is None else container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        if clip.rotation_deg:
            video.set_display_rotation(clip.rotation_deg)
        voice = None if clip.pitch_hz is None else _voice(clip.seconds, clip.pitch_hz)
        for second in range(math.ceil(clip.seconds)):
            for frame in _frames(clip, second):
                container.mux(video.encode(frame))
            if audio is not None and voice is not None:
                container.mux(audio.encode(_sound(voice, second)))
        container.mux(video.encode())
        if audio is not None:
            container.mux(audio.encode())
    return file.getvalue()


def _frames(clip: _Clip, second: int) -> Iterator[av.VideoFrame]:
    for number in range(second * FPS, min((second + 1) * FPS, round(clip.seconds * FPS))):
        # Stored turned the other way, so that the player's turn makes it upright.
        picture = clip.camera(number / FPS).rotate(-clip.rotation_deg, expand=True)
        frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        yield frame


def _sound(voice: Float32Array, second: int) -> av.AudioFrame:
    start = second * SAMPLE_RATE_HZ
    samples = voice[None, start : start + SAMPLE_RATE_HZ]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, start, Fraction(1, SAMPLE_RATE_HZ)
    return frame


def _add_video(container: av.container.OutputContainer) -> av.VideoStream:
    """H.264 where this build of FFmpeg can write it, else MPEG-4, which it always can."""
    try:
        return container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
    except av.codec.codec.UnknownCodecError:
        return container.add_stream("mpeg4", rate=FPS)


def _cut_short(mp4: bytes) -> bytes:
    """The first part of an MP4 file, as an interrupted copy leaves it: without its index, which stands at the end."""
    return mp4[: mp4.rindex(b"moov") // 2]
