"""The seven emotions, in the one order used everywhere (FER-2013's, and that of the AFEW files)."""

from typing import Final

EMOTIONS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
N_EMOTIONS: Final = len(EMOTIONS)

MODALITIES: Final = ("face", "motion", "audio")
"""The branches of Pini et al. (2017): face CNN, C3D motion, SoundNet audio."""
