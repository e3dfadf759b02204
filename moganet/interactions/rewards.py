"""What a network's answer is worth: one number from the logits, in float64."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from moganet.errors import InteractionError, choose_of

Floats = NDArray[np.float64]


def reward_of(logits: NDArray[np.floating], label: int, reward: str = "log-odds") -> Floats:
    """Give the rewards (B,) of logits (B, classes) for the true class.

    reward: "log-odds" is log p/(1-p) = z_y - logsumexp(z_k, k != y); "log-p" the log of its probability; "logit" z_y.
    Raises InteractionError for a reward or a class that does not exist.
    """
    if reward not in REWARDS:
        raise InteractionError(f"there is no reward {reward!r}; {choose_of(reward, REWARDS)}")
    z = np.asarray(logits, np.float64)
    if z.ndim != 2 or not 0 <= label < z.shape[1]:
        raise InteractionError(f"logits of shape {z.shape} hold no class {label}; they must be (B, classes)")
    if reward == "log-odds" and z.shape[1] < 2:
        raise InteractionError("log-odds need at least 2 classes; use the reward 'logit'")
    return REWARDS[reward](z, label)


REWARDS: dict[str, Callable[[Floats, int], Floats]] = {
    "log-odds": lambda z, label: z[:, label] - _log_sum_exp(np.delete(z, label, axis=1)),
    "log-p": lambda z, label: z[:, label] - _log_sum_exp(z),
    "logit": lambda z, label: z[:, label].copy(),
}


def _log_sum_exp(z: Floats) -> Floats:
    largest = z.max(axis=1)
    return np.asarray(largest + np.log(np.exp(z - largest[:, None]).sum(axis=1)))
