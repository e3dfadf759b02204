"""Parts of a network that do not learn, with the statistics of their norms: some never, all but the head at first."""

from collections.abc import Sequence

from torch import nn


class Held:
    """What of a network is held as it is: `frozen` modules always, all but the `head` for the first `epochs`.

    What learns in any epoch has gradients until the first begins, so that optimizers, and processes that share
    gradients, know of it.
    """

    def __init__(
        self,
        network: nn.Module,
        frozen: Sequence[nn.Module] = (),
        head: Sequence[nn.Module] = (),
        epochs: int = 0,
    ) -> None:
        self.network, self.head, self.epochs, self.head_alone = network, list(head), epochs, False
        self.frozen = [module.requires_grad_(False) for module in frozen]
        of_head = {id(parameter) for module in self.head for parameter in module.parameters()}
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.late = [parameter for parameter in learning if id(parameter) not in of_head]

    def begin(self, epoch: int) -> bool:
        """Let only what learns in an epoch have gradients; tell whether that is another part than before."""
        alone = epoch < self.epochs
        if alone == self.head_alone:
            return False
        self.head_alone = alone
        for parameter in self.late:
            parameter.requires_grad_(not alone)
        return True

    def keep_modes(self) -> None:
        """Put what is held into evaluation mode, within a network that trains."""
        if self.head_alone:
            self.network.eval()
            for module in self.head:
                module.train()
        for module in self.frozen:
            module.eval()
