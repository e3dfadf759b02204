"""What makes a folder one of the hub: `config.json` beside tensors; without torch."""

from pathlib import Path

CONFIG, TENSORS = "config.json", "model.safetensors"
OLDER = "pytorch_model.bin"
INDEXES = (f"{TENSORS}.index.json", f"{OLDER}.index.json")


def is_hub_folder(path: Path) -> bool:
    """Tell whether a folder is one of this format."""
    return (path / CONFIG).is_file() and tensors_file(path) is not None


def tensors_file(folder: Path) -> Path | None:
    """Give a folder's file of tensors, or the index of the files that they are divided into."""
    return next((folder / name for name in (TENSORS, OLDER, *INDEXES) if (folder / name).is_file()), None)
