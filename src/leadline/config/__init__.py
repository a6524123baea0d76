"""Every schema of a run's configuration: typed, checked, and plain Python.

A field that says *how* a run is executed but not *what* it computes (paths, threads, trackers)
is marked `operational`; all other fields are science and enter the run's identity.
"""

from leadline.config.data import (
    DataConfig,
    EmbeddedData,
    FileData,
    MsLikeData,
    PublishedData,
    ZhengLikeData,
)
from leadline.config.models import (
    ExpressionConfig,
    KnnPcaConfig,
    LogregConfig,
    MajorityConfig,
    MlpConfig,
    ModelConfig,
    NearestCentroidConfig,
    StratifiedConfig,
)
from leadline.config.protocol import PROTOCOL_CHOICES, TRAINING_SWITCHES, ProtocolConfig
from leadline.config.run import (
    SCHEMAS,
    CsvTrackerConfig,
    RunConfig,
    TrackerConfig,
    science,
)
from leadline.config.train import TRAIN_CHOICES, TrainConfig

__all__ = [
    "PROTOCOL_CHOICES",
    "SCHEMAS",
    "TRAINING_SWITCHES",
    "TRAIN_CHOICES",
    "CsvTrackerConfig",
    "DataConfig",
    "EmbeddedData",
    "ExpressionConfig",
    "FileData",
    "KnnPcaConfig",
    "LogregConfig",
    "MajorityConfig",
    "MlpConfig",
    "ModelConfig",
    "MsLikeData",
    "NearestCentroidConfig",
    "ProtocolConfig",
    "PublishedData",
    "RunConfig",
    "StratifiedConfig",
    "TrackerConfig",
    "TrainConfig",
    "ZhengLikeData",
    "science",
]
