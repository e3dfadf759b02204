"""What measures outputs against targets: the same in training, `evaluate`, the report and an export's check."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.distributed import is_available, is_initialized
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from moganet.tasks.task import TaskDescription

CALIBRATION_BINS = 15  # as in Guo et al. 2017


class Gathered(Metric):
    """A figure of all that came, which is kept in lists of tensors; several processes join these.

    none: by a list's name, a tensor of no rows, so that a process to which nothing came takes part too.
    """

    full_state_update = False

    def __init__(self, **none: Tensor) -> None:
        super().__init__()
        self.none = none
        for name in none:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def sync(self, *args: Any, **options: Any) -> None:
        for name, rows in self.none.items() if is_available() and is_initialized() else ():
            if not len(getattr(self, name)):
                setattr(self, name, [rows.to(self.device)])
        super().sync(*args, **options)

    def joined(self, name: str) -> Tensor:
        """Give all rows of a list."""
        rows = getattr(self, name)
        return dim_zero_cat(rows) if len(rows) else self.none[name]


class Evaluator(nn.Module):
    """Collect outputs and targets a batch at a time, and give figures of them.

    metrics: torchmetrics by the names of the figures that a training logs; their states are those of one process, and
    torchmetrics joins them over several. keeps: whether outputs are kept too, which `details` needs.
    """

    def __init__(self, metrics: Mapping[str, Metric], *, keeps: bool) -> None:
        super().__init__()
        self.metrics, self.keeps = nn.ModuleDict(dict(metrics)), keeps
        self.kept: list[tuple[Mapping[str, Tensor], Any]] = []
        self.names: list[str] = []

    def update(self, outputs: Mapping[str, Tensor], targets: Any, names: Sequence[str] = ()) -> None:
        """Take a batch: float32 outputs by name, its targets, and where figures are told by image the images' names."""
        self.names += names
        if self.keeps:
            self.kept.append((outputs, targets))
        else:
            self.measure(outputs, targets)

    @abstractmethod
    def measure(self, outputs: Mapping[str, Tensor], targets: Any) -> None:
        """Update the metrics."""

    @property
    def has_seen(self) -> bool:
        """Tell whether a batch came since the last reset."""
        return any(metric.update_called for metric in self.figures().values())

    def figures(self) -> dict[str, Metric]:
        """Give the metrics by the names of their figures."""
        return {name: metric for name, metric in self.metrics.items() if isinstance(metric, Metric)}

    def compute(self) -> dict[str, float]:
        """Give the figures of all that came."""
        return {name: float(metric.compute()) for name, metric in self.figures().items()}

    def fitted(self, description: TaskDescription) -> TaskDescription:
        """Give a model file's description with what the images that came, of validation, say of its answers."""
        return description

    def write(self, folder: Path) -> list[str]:
        """Write what is known image by image beside the figures; give the names of the files."""
        return []

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """Give all that the task's Evaluation says of what was kept."""
