"""Other detectors on the same fields, data and resolution: what the mismatch has to be better than."""

from fmcore.baselines.autoencoder import Autoencoder, AutoencoderDetector, AutoencoderSettings, train_autoencoder
from fmcore.baselines.detector import Detection, Detector, detect
from fmcore.baselines.mahalanobis import MahalanobisDetector
from fmcore.baselines.mismatch_detector import MismatchDetector
from fmcore.baselines.nearest import NearestDetector
from fmcore.baselines.one_step import OneStepDetector, OneStepSettings
from fmcore.baselines.pixel_gaussian import PixelGaussianDetector
from fmcore.baselines.reconstruction import ReconstructionDetector, ReconstructionSettings
from fmcore.baselines.tccm import TCCMDetector, train_tccm
from fmcore.baselines.time_reversed import TimeReversedDetector, TimeReversedSettings
from fmcore.baselines.trainer import BudgetSettings
from fmcore.baselines.wt_flow import WTFlowDetector, WTFlowSettings, train_wt_flow

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
