"""What an exported file may lose against the network that it was made of; without torch."""

from dataclasses import dataclass

from moganet.inference.metadata import ExportPrecision


@dataclass(frozen=True)
class Tolerance:
    """What an export may lose: the most of a logit, in standard deviations, and the least share of same decisions."""

    deviation: float
    agreement: float


TOLERANCES: dict[ExportPrecision, Tolerance] = {
    "f32": Tolerance(1e-3, 0.999),
    "f16": Tolerance(0.05, 0.99),
    "bf16": Tolerance(0.3, 0.98),
    "int8": Tolerance(2.0, 0.95),
}
# Resizing inside a graph may differ by a grey level from torch's, which works with whole numbers.
RAW = Tolerance(0.1, 0.99)


def tolerance_of(precision: ExportPrecision, raw: bool) -> Tolerance:
    """Give the tolerance for an export; that of preprocessing in the graph where it is larger."""
    own = TOLERANCES[precision]
    return Tolerance(max(own.deviation, RAW.deviation), min(own.agreement, RAW.agreement)) if raw else own
