"""The moving average of the weights."""

import pytest
import torch
from storyattn.training.engine.ema import MovingAverage
from torch.optim.swa_utils import AveragedModel


def test_it_is_the_average_of_torch_with_a_warm_up():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3))

    def follow(averages, weights, num_updates):
        decay = min(0.9, (1 + int(num_updates)) / (10 + int(num_updates)))
        torch._foreach_lerp_(averages, weights, 1 - decay)

    average, expected = MovingAverage(model, 0.9), AveragedModel(model, multi_avg_fn=follow)
    for _ in range(120):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
        average.update(model)
        expected.update_parameters(model)
        for name, weight in expected.module.named_parameters():
            assert torch.equal(average.weights[name], weight)
    assert average.num_updates == 120
    assert not any(torch.equal(average.weights[name], weight) for name, weight in model.named_parameters())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"ema_decay: got {decay}, expected a number in \[0, 1\)"):
        MovingAverage(torch.nn.Linear(1, 1), decay)
