"""Pini et al., "Modeling Multimodal Cues in a Deep Learning-based Framework for Emotion Recognition in the Wild"
(ICMI 2017, https://doi.org/10.1145/3136755.3143006)."""

from emolabel.models.combine import BranchDecision
from emolabel.models.pini2017.branches import AudioBranch, FaceBranch, MotionBranch
from emolabel.models.pini2017.config import (
    FULL,
    SUBMISSION_1,
    AudioConfig,
    DecisionConfig,
    FaceConfig,
    FusionConfig,
    MotionConfig,
    Pini2017Config,
)
from emolabel.models.pini2017.fusion import FusionNetwork
from emolabel.models.pini2017.model import Logits, Pini2017

__all__ = [
    "FULL",
    "SUBMISSION_1",
    "AudioBranch",
    "AudioConfig",
    "BranchDecision",
    "DecisionConfig",
    "FaceBranch",
    "FaceConfig",
    "FusionConfig",
    "FusionNetwork",
    "Logits",
    "MotionBranch",
    "MotionConfig",
    "Pini2017",
    "Pini2017Config",
]
