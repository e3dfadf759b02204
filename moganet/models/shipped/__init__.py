"""Small trained models that come with the package: NAME.safetensors, and NAME.md with how it was made."""

from pathlib import Path


def shipped_models() -> dict[str, Path]:
    """Give the file of each model that ships, by its name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.safetensors"))}
