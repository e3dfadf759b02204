"""scikit-learn's embedded scans of handwritten digits: 1,797 images of 8x8 pixels, nothing to download."""

from dataclasses import replace

import numpy as np
import torch

from moganet.data.source import ArraySplit, Dataset
from moganet.data.targets import ClassIndices
from moganet.errors import DataError

TEST_SEED = 0  # of its own: the test set is a property of the data, not of a run


def open_digits(path: str | None) -> Dataset:
    """Open the digits; a stratified fifth (360 images) is the test set."""
    if path:
        raise DataError(f"the source 'digits' is part of scikit-learn and takes no path (given: {path})")
    from sklearn.datasets import load_digits  # whose import takes two seconds
    from sklearn.model_selection import train_test_split

    scans, labels = load_digits(return_X_y=True)
    images = np.round(scans.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=TEST_SEED, stratify=labels)
    whole = ArraySplit(torch.from_numpy(images), ClassIndices(torch.from_numpy(labels)))
    parts = {"train": sorted(train.tolist()), "test": sorted(test.tolist())}
    splits = {name: replace(whole.subset(places), name=f"digits/{name}", places=None) for name, places in parts.items()}
    return Dataset("digits", tuple("0123456789"), splits)
