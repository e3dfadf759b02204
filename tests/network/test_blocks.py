"""A block's forms for training and for evaluation are one function."""

import pytest
import torch

from moganet.network.blocks import ChannelAggregation2d


@pytest.mark.parametrize("channels", [7, 8, 12])
def test_the_channel_mixer_trains_the_function_that_it_evaluates(channels):
    torch.manual_seed(0)
    mixer = ChannelAggregation2d(channels, 32, "reference")
    with torch.no_grad():
        mixer.sigma.scale.normal_()
    x = torch.randn(2, channels, 9, 7)

    def output_and_gradients(training: bool) -> list[torch.Tensor]:
        mixer.train(training).zero_grad()
        images = x.clone().requires_grad_()
        output = mixer(images)
        output.square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in mixer.parameters() if parameter.requires_grad]
        return [output.detach(), images.grad, *gradients]

    for trained, evaluated in zip(output_and_gradients(True), output_and_gradients(False), strict=True):
        assert torch.allclose(trained, evaluated, rtol=1e-4, atol=1e-5 * evaluated.abs().max())
