"""The Parquet schemas of the output. One place, applied before every write; plain types only."""

from typing import Final

import pyarrow as pa

from emolabel.labels import EMOTIONS, MODALITIES

SCHEMA_VERSION: Final = 1

NO_FACE_ID: Final = -1
"""`face_id` of a row that is about no face."""


def _scores(prefix: str = "") -> list[pa.Field]:
    return [pa.field(f"{prefix}{emotion}", pa.float32()) for emotion in EMOTIONS]


_RUN = [
    pa.field("model", pa.string(), nullable=False),
    pa.field("model_sha256", pa.string(), nullable=False),
    pa.field("emolabel_version", pa.string(), nullable=False),
    pa.field("run_id", pa.string(), nullable=False),
]

LABELS: Final = pa.schema(
    [
        # keys: (video_id, window_index, face_id) is unique
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("input", pa.string(), nullable=False),
        pa.field("window_index", pa.int32(), nullable=False),
        pa.field("n_windows", pa.int32(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64(), nullable=False),
        pa.field("fps", pa.float32()),
        # face: the median box over the window, in pixels of the displayed frame
        pa.field("face_id", pa.int32(), nullable=False),
        pa.field("face_x", pa.float32()),
        pa.field("face_y", pa.float32()),
        pa.field("face_w", pa.float32()),
        pa.field("face_h", pa.float32()),
        pa.field("face_score", pa.float32()),
        pa.field("n_frames", pa.int32(), nullable=False),
        pa.field("n_face_frames", pa.int32(), nullable=False),
        pa.field("frame_width", pa.int32()),
        pa.field("frame_height", pa.int32()),
        # label
        pa.field("dominant_emotion", pa.string()),
        pa.field("emotion_score", pa.float32()),
        *_scores(),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
        # modalities
        *[score for modality in MODALITIES for score in _scores(f"{modality}_")],
        pa.field("has_face", pa.bool_(), nullable=False),
        pa.field("has_audio", pa.bool_(), nullable=False),
        pa.field("agreement", pa.float32()),
        # run
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        *_RUN,
    ]
)
"""A row per window and face."""

CROPS: Final = pa.struct(
    [
        ("pixels", pa.large_binary()),  # uint8 (U, side_px, side_px, 3) RGB, each distinct crop once
        ("side_px", pa.int32()),
        ("index", pa.list_(pa.int32())),  # which crop stands at each place
        ("slice_length", pa.int32()),  # places in a slice; 0: single frames
    ]
)

PREPARED: Final = pa.schema(
    [
        pa.field("face", CROPS),
        pa.field("motion", CROPS),
        pa.field("audio", pa.large_binary()),  # float32, little endian, mono in [-1, 1]
        pa.field("audio_rate_hz", pa.int32()),
    ]
)
"""What a model is to see and hear of a row: further columns of `LABELS` in prepared folders, which have no scores."""

INPUTS: Final = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("input", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        # the stretch of the file that the input is, as a manifest gave it; null where it gave none
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("size_bytes", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("frame_width", pa.int32()),
        pa.field("frame_height", pa.int32()),
        pa.field("fps", pa.float32()),
        pa.field("n_frames_header", pa.int64()),
        pa.field("n_frames", pa.int64()),
        pa.field("video_codec", pa.string()),
        pa.field("audio_codec", pa.string()),
        pa.field("audio_sample_rate_hz", pa.int32()),
        pa.field("n_windows", pa.int32(), nullable=False),
        pa.field("n_labelled", pa.int32(), nullable=False),
        pa.field("dominant_emotion", pa.string()),
        pa.field("emotion_score", pa.float32()),
        pa.field("seconds_spent", pa.float64(), nullable=False),
        *_RUN,
    ]
)
"""A row per input."""
