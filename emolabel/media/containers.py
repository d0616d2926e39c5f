"""Which files are opened at all: an allow-list of containers, judged by content and never by name.

FFmpeg opens far more than media: playlists (HLS, DASH, concat, SDP) that name other files and URLs, image
sequences, devices. A file that says `.mp4` and holds a playlist would make a decoder read whatever it names. So:

1. the first bytes are read here, and known references are refused before any library sees the file;
2. FFmpeg gets `format_whitelist` with the formats below, none of which opens a second file, and
   `protocol_whitelist` with no protocol, as the bytes come from us (https://ffmpeg.org/ffmpeg-formats.html).
"""

from typing import Final

from emolabel.errors import MediaError, Status

HEAD_BYTES: Final = 4096

FORMATS: Final = (
    *("mov", "matroska", "avi", "mpeg", "mpegts", "flv", "asf", "mxf", "ogg", "gif", "apng"),
    *("wav", "w64", "aiff", "au", "caf", "mp3", "aac", "flac", "ac3", "eac3", "amr", "ape", "wv", "tta"),
    *("jpeg_pipe", "png_pipe", "bmp_pipe", "webp_pipe", "tiff_pipe"),
)
"""FFmpeg's short names; `mov` also stands for mp4, m4a, 3gp, `matroska` also for webm."""

PICTURES: Final = {b"\xff\xd8\xff": "jpeg_pipe", b"\x89PNG\r\n\x1a\n": "png_pipe"}
"""Pictures by their first bytes. FFmpeg takes them by their name for `image2`, which opens other files."""

_XML_STARTS: Final = (b"?xml", b"!", b"mpd", b"smil", b"asx", b"svg", b"html", b"head", b"body", b"rss", b"smoothstr")
_REFERENCES: Final = (
    (b"#extm3u", "an HLS or M3U playlist"),
    (b"ffconcat", "an FFmpeg concat list"),
    (b"[playlist]", "a PLS playlist"),
    (b"[reference]", "an ASF redirector"),
    (b"rtsptext", "an RTSP redirector"),
    (b"v=0\r", "an SDP session description"),
    (b"v=0\n", "an SDP session description"),
    *((b"<" + start, "an XML or HTML text (DASH, SMIL, ASX and SVG files name others)") for start in _XML_STARTS),
    (b"http://", "a link"),
    (b"https://", "a link"),
    (b"rtsp://", "a link"),
    (b"rtmp://", "a link"),
    (b"file:", "a link"),
)

MP4_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""With one of these an MP4 or QuickTime file begins."""


def refuse_references(head: bytes) -> None:
    """Refuse a file that names others instead of holding media.

    Args:
        head: its first `HEAD_BYTES` bytes, or all of a shorter one.

    Raises:
        MediaError: UNREADABLE for an empty file, UNSUPPORTED for a playlist or a link.
    """
    if not head:
        raise MediaError(Status.UNREADABLE, "the file is empty (0 bytes)")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, words in _REFERENCES:
        if text.startswith(magic):
            raise MediaError(Status.UNSUPPORTED, f"{words}, not media: it is not followed")


def picture_format(head: bytes) -> str | None:
    """FFmpeg's name for the picture that a file is; None where it is no picture, or an animated one (APNG)."""
    names = (name for magic, name in PICTURES.items() if head.startswith(magic) and b"acTL" not in head)
    return next(names, None)


def is_mp4(head: bytes) -> bool:
    """Whether the first bytes are a box of an MP4 or QuickTime file."""
    return head[4:8] in MP4_BOXES
