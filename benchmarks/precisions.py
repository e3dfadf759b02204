"""What each exported format and precision costs in accuracy, and what it brings, on a trained model.

Writes precisions.json beside this file. Usage: python benchmarks/precisions.py MODEL DATA
"""

import sys
import tempfile

from sides import write

from moganet.engine.export import export_all


def main() -> None:
    """Export to every format and compare over the whole test set."""
    model, data = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder:
        result = export_all(model, folder, data=data, limit=10_000).plain()
    exports = [{key: value for key, value in row.items() if key not in ("out", "model")} for row in result["exports"]]
    name = sys.argv[3] if len(sys.argv) > 3 else model
    write(__file__, {**result, "model": name, "exports": exports, "data": data.partition(":")[0]})


if __name__ == "__main__":
    main()
