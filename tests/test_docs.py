"""Examples in the documentation run as they stand there."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
SHORT = (
    '{"trainer.max_steps": 2, "network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], '
    '"network.mlp_ratios": [2, 2, 2, 2], "data.batch_size": 32}'
)


def test_the_examples_of_python_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shortened = "\n".join(blocks).replace('{"trainer.max_epochs": 5}', SHORT)
    assert len(blocks) == 3 and SHORT in shortened
    exec(compile(shortened, "python.md", "exec"), {"__name__": "python_md"})
    said = capsys.readouterr().out
    assert "TrainResult" in said and "ClassifyEvaluation of ResNet on python:Scans (test), 397 images" in said
    assert len(re.findall(r"^image \d+ ", said, re.MULTILINE)) == 100
