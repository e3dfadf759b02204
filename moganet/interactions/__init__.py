"""Multi-order interaction strength, the measure by which the network was designed: numpy in, numpy out.

Players are 0..n-1 (for a network, the patches of an image); a value function maps boolean masks (B, n), True for a
player that is present, to values (B,). Zhang et al. 2020; Deng et al., ICLR 2022; MogaNet paper, section 3.
"""

from moganet.interactions.budget import Plan, plan_budget
from moganet.interactions.measure import Interactions, exact_interactions, pair_interactions, shapley_interaction_index
from moganet.interactions.rewards import REWARDS, reward_of
from moganet.interactions.sampling import published_orders, sample_contexts, sample_pairs
from moganet.interactions.strength import Comparison, Curve, compare, strength

__all__ = [
    "REWARDS",
    "Comparison",
    "Curve",
    "Interactions",
    "Plan",
    "compare",
    "exact_interactions",
    "pair_interactions",
    "plan_budget",
    "published_orders",
    "reward_of",
    "sample_contexts",
    "sample_pairs",
    "shapley_interaction_index",
    "strength",
]
