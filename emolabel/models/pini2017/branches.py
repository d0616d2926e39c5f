"""The three branches: a frozen pretrained trunk and a trained head each (paper, 3.1 to 3.3)."""

import torch
from torch import Tensor, nn

from emolabel.labels import N_EMOTIONS
from emolabel.models.blocks.c3d import C3dTrunk
from emolabel.models.blocks.dense import dense
from emolabel.models.blocks.face_trunk import face_trunk
from emolabel.models.blocks.frozen import Freezable
from emolabel.models.blocks.log_mel import LogMelTrunk, LoudnessPooling
from emolabel.models.blocks.normalise import Gain, Normalise
from emolabel.models.blocks.soundnet import PaddedConv1d, SoundNetTrunk
from emolabel.models.pini2017.config import AudioConfig, FaceConfig, MotionConfig

VISUAL_DIM = 256
AUDIO_DIM = 128


class Branch(Freezable):
    """Input to features for the fusion, and to logits of its own.

    The paper drops `classifier` after phase 1; it is kept for the scores per modality.
    """

    normalise: nn.Module
    trunk: Freezable
    head: nn.Module
    classifier: nn.Linear

    def features(self, inputs: Tensor) -> Tensor:
        """What the fusion gets of each input: (N, 256) for pictures, (N, 128) for sound."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.trunk.frozen):
            x = self.trunk(self.normalise(inputs))
        features: Tensor = self.head(x)
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 7) logits of this branch alone."""
        logits: Tensor = self.classifier(self.features(inputs))
        return logits


class FaceBranch(Branch):
    """(N, S, S, 3) RGB crops of 0-255 through a face CNN."""

    def __init__(self, config: FaceConfig) -> None:
        super().__init__()
        trunk = face_trunk(config.backbone, config.sampling.crop_px)
        self.normalise = Normalise(config.normalisation)
        self.trunk = trunk
        self.head = nn.Sequential(
            nn.Conv2d(trunk.channels, VISUAL_DIM, kernel_size=3, bias=False),
            nn.BatchNorm2d(VISUAL_DIM),
            nn.ReLU(),
            nn.Flatten(),
            *dense(VISUAL_DIM, VISUAL_DIM, config.keep),
        )
        self.classifier = nn.Linear(VISUAL_DIM, N_EMOTIONS)
        self.trunk.freeze()


class MotionBranch(Branch):
    """(N, 16, 112, 112, 3) slices of RGB crops of 0-255 through C3D."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.normalise = Normalise(config.normalisation)
        self.trunk = C3dTrunk()
        self.head = nn.Sequential(
            nn.Flatten(1, 2),  # the one time step that pool5 leaves: (N, 512, 4, 4)
            nn.MaxPool2d(2),
            nn.Conv2d(C3dTrunk.channels, VISUAL_DIM, kernel_size=2, bias=False),
            nn.BatchNorm2d(VISUAL_DIM),
            nn.ReLU(),
            nn.Flatten(),
            *dense(VISUAL_DIM, VISUAL_DIM, config.keep),
        )
        self.classifier = nn.Linear(VISUAL_DIM, N_EMOTIONS)
        self.trunk.freeze()


class AudioBranch(Branch):
    """(N, n) mono samples of -1 to 1 through SoundNet, or through a log-mel spectrogram."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.normalise = Gain(config.gain)
        if config.trunk == "log_mel":
            self.trunk = LogMelTrunk(config.sampling.sample_rate_hz)
            pooled = 2 * (LogMelTrunk.channels - 1)
            dropout = nn.Dropout(1 - config.keep)
            self.head = nn.Sequential(LoudnessPooling(), dropout, *dense(pooled, AUDIO_DIM, config.keep))
        else:
            self.trunk = SoundNetTrunk(config.padding)
            self.head = AudioHead(config.keep)
        self.classifier = nn.Linear(AUDIO_DIM, N_EMOTIONS)
        self.trunk.freeze()


class AudioHead(nn.Module):
    """Convolution and two LSTM levels; the last hidden state stands for the whole sound."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.conv = PaddedConv1d(SoundNetTrunk.channels, 512, kernel=4, stride=4, padding="same", bias=False)
        self.bn = nn.BatchNorm1d(512)
        self.lstm = nn.LSTM(512, AUDIO_DIM, num_layers=2, batch_first=True, dropout=1 - keep)
        self.dropout = nn.Dropout(1 - keep)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 128, T) trunk features, 22 steps for a second, to (N, 128)."""
        steps = torch.relu(self.bn(self.conv(x))).transpose(1, 2)  # (N, T / 4, 512): 6 steps
        _, (hidden, _) = self.lstm(steps)
        last: Tensor = self.dropout(hidden[-1])
        return last
