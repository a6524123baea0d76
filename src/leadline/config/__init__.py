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
    StoreData,
    ZhengLikeData,
)
from leadline.config.external import EmbeddingConfig, ExternalConfig, PythonConfig
from leadline.config.launchers import (
    ABSENT_LAUNCHERS,
    LAUNCHERS,
    BasicLauncher,
    LauncherConfig,
    LocalLauncher,
    RayLauncher,
    SubmititSlurmLauncher,
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
from leadline.config.protocol import (
    MODEL_SWITCHES,
    PROTOCOL_CHOICES,
    TRAINING_SWITCHES,
    ProtocolConfig,
)
from leadline.config.run import SCHEMAS, RunConfig, as_recorded, science
from leadline.config.scbert import SCBERT_SIZES, BinnedConfig, Gene2vecConfig, ScbertConfig
from leadline.config.scgpt import SCGPT_SIZES, ScgptConfig
from leadline.config.tracker import (
    CsvTrackerConfig,
    TensorboardTrackerConfig,
    TrackerConfig,
    WandbTrackerConfig,
)
from leadline.config.train import TRAIN_CHOICES, TrainConfig

__all__ = [
    "ABSENT_LAUNCHERS",
    "LAUNCHERS",
    "MODEL_SWITCHES",
    "PROTOCOL_CHOICES",
    "SCGPT_SIZES",
    "SCBERT_SIZES",
    "SCHEMAS",
    "TRAINING_SWITCHES",
    "TRAIN_CHOICES",
    "BasicLauncher",
    "BinnedConfig",
    "CsvTrackerConfig",
    "DataConfig",
    "EmbeddedData",
    "EmbeddingConfig",
    "ExpressionConfig",
    "ExternalConfig",
    "FileData",
    "Gene2vecConfig",
    "KnnPcaConfig",
    "LauncherConfig",
    "LocalLauncher",
    "LogregConfig",
    "MajorityConfig",
    "MlpConfig",
    "ModelConfig",
    "MsLikeData",
    "NearestCentroidConfig",
    "ProtocolConfig",
    "PublishedData",
    "PythonConfig",
    "RayLauncher",
    "RunConfig",
    "ScgptConfig",
    "ScbertConfig",
    "StoreData",
    "StratifiedConfig",
    "SubmititSlurmLauncher",
    "TensorboardTrackerConfig",
    "TrackerConfig",
    "TrainConfig",
    "WandbTrackerConfig",
    "ZhengLikeData",
    "as_recorded",
    "science",
]
