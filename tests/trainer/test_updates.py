"""Steps of the optimiser: accumulation, the average of weights, float16's loss scale."""

import copy

import pytest
import torch
from torch import Tensor, nn

from trainer.updates import Updates, WeightAverage

IMAGES = torch.randn(18, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    """Without batch norm, which sees each batch by itself."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))


def trained(batch_size: int, accumulate: int, *, summed: bool = False) -> list[Tensor]:
    """Weights after an epoch over all images."""
    model = network()
    updates = Updates(torch.optim.SGD(model.parameters(), lr=0.1), accumulate=accumulate, summed=summed)
    for images in IMAGES.split(batch_size):
        losses = model(images).square().mean(dim=1)
        updates.add(0.1 * losses.sum() if summed else losses.mean(), len(images))
    updates.finish()
    return list(model.parameters())


@pytest.mark.parametrize("summed", [False, True])
def test_batches_that_are_accumulated_equal_one_of_all_their_images(summed: bool) -> None:
    """18 images: 8, 8 and 2, the last step of one smaller batch. Would fail if a step were n times too long, or the
    last one as long as if it had all its images."""
    torch.testing.assert_close(trained(4, 2, summed=summed), trained(8, 1, summed=summed))
    torch.testing.assert_close(trained(5, 4, summed=summed), trained(18, 1, summed=summed))
    torch.testing.assert_close(trained(4, 9, summed=summed), trained(18, 1, summed=summed))


def test_it_steps_only_when_a_group_is_complete() -> None:
    model = network()
    updates = Updates(torch.optim.SGD(model.parameters(), lr=0.1), accumulate=2)
    before = copy.deepcopy(model.state_dict())

    def moved() -> bool:
        return any(not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    updates.add(model(IMAGES).square().mean(), len(IMAGES))
    assert not moved()
    updates.add(model(IMAGES).square().mean(), len(IMAGES))
    assert moved()
    before = copy.deepcopy(model.state_dict())
    updates.finish()
    assert not moved(), "nothing was left"


def test_average_is_the_formula_and_holds_buffers() -> None:
    """Would fail if batch norm's statistics were the last step's, or the random start weighed as in a plain average."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    average = WeightAverage(model, decay=0.3)
    updates = Updates(torch.optim.SGD(model.parameters(), lr=0.5), model=model, average=average)
    expected: dict[str, Tensor] = {}
    for t in range(6):
        updates.add(model(IMAGES + t).square().mean(), len(IMAGES))
        kept = min(0.3, (1 + t) / (10 + t)) if t else 0.0  # the first update is the weights themselves
        for name, tensor in model.state_dict().items():
            previous = expected.get(name, tensor)
            expected[name] = kept * previous + (1 - kept) * tensor if tensor.is_floating_point() else tensor.clone()
    averaged = average.module.state_dict()
    torch.testing.assert_close(averaged, expected)
    assert not torch.allclose(averaged["1.running_mean"], model.state_dict()["1.running_mean"])
    assert averaged["1.num_batches_tracked"] == 6


def test_average_goes_on_where_it_was() -> None:
    """Would fail if the number of updates, and with it the warm-up, began anew after a kill."""
    model = network()
    straight = WeightAverage(model, decay=0.99)

    def advance(average: WeightAverage, steps: range) -> None:
        for step in steps:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(step)
            average.update_parameters(model)

    advance(straight, range(3))
    resumed = WeightAverage(network(), decay=0.99)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    advance(straight, range(3, 6))
    advance(resumed, range(3, 6))
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])


def test_a_step_whose_gradients_overflow_is_left_out() -> None:
    """Would fail if an infinite gradient reached the weights, or the scale never fell."""
    model = network()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
    updates = Updates(torch.optim.SGD(model.parameters(), lr=0.1), scaler=scaler)
    before = copy.deepcopy(model.state_dict())
    updates.add(1e3 * model(IMAGES).square().mean(), len(IMAGES))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert scaler.get_scale() == 2.0**126
    scaler.update(1024.0)
    updates.add(model(IMAGES).square().mean(), len(IMAGES))
    plain = network()
    Updates(torch.optim.SGD(plain.parameters(), lr=0.1)).add(plain(IMAGES).square().mean(), len(IMAGES))
    torch.testing.assert_close(list(model.parameters()), list(plain.parameters()))
