"""What a model file says of a classifier beyond its tensors."""

from typing import Annotated

from pydantic import Field

from moganet.config import Fraction, Settings


class Reject(Settings):
    """From which energy on an image counts as unlike those that the model was trained on (Liu et al. 2020).

    threshold: of the energy, -logsumexp(logits); images above it are rejected. kept: the share of the validation
    images below it. num_images: how many those were.
    """

    threshold: float
    kept: Fraction
    num_images: Annotated[int, Field(ge=0)]
