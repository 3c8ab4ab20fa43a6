"""Other detectors on the same fields, data and resolution: what the mismatch has to be better than."""

from fmcore.evaluation.baselines.autoencoder import (
    Autoencoder,
    AutoencoderDetector,
    AutoencoderSettings,
    train_autoencoder,
)
from fmcore.evaluation.baselines.detector import Detection, Detector, detect
from fmcore.evaluation.baselines.mahalanobis import MahalanobisDetector
from fmcore.evaluation.baselines.mismatch_detector import MismatchDetector
from fmcore.evaluation.baselines.nearest import NearestDetector
from fmcore.evaluation.baselines.one_step import OneStepDetector, OneStepSettings
from fmcore.evaluation.baselines.pixel_gaussian import PixelGaussianDetector
from fmcore.evaluation.baselines.reconstruction import ReconstructionDetector, ReconstructionSettings
from fmcore.evaluation.baselines.tccm import TCCMDetector, train_tccm
from fmcore.evaluation.baselines.time_reversed import TimeReversedDetector, TimeReversedSettings
from fmcore.evaluation.baselines.trainer import BudgetSettings
from fmcore.evaluation.baselines.wt_flow import WTFlowDetector, WTFlowSettings, train_wt_flow

__all__ = [
    "Autoencoder",
    "AutoencoderDetector",
    "AutoencoderSettings",
    "BudgetSettings",
    "Detection",
    "Detector",
    "MahalanobisDetector",
    "MismatchDetector",
    "NearestDetector",
    "OneStepDetector",
    "OneStepSettings",
    "PixelGaussianDetector",
    "ReconstructionDetector",
    "ReconstructionSettings",
    "TCCMDetector",
    "TimeReversedDetector",
    "TimeReversedSettings",
    "WTFlowDetector",
    "WTFlowSettings",
    "detect",
    "train_autoencoder",
    "train_tccm",
    "train_wt_flow",
]
