"""Checkpoints: what is saved comes back bit for bit, and damage is noticed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.checkpoint import load_training, read_tensors, save_training, write_tensors


def network_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 33, 3))
    network.to(memory_format=torch.channels_last)
    return network, torch.optim.Adam(
        [{"params": network[0].parameters(), "lr": 1e-2}, {"params": network[2].parameters()}]
    )


def step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    images = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer.zero_grad()
    network(images).square().mean().backward()
    optimizer.step()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_going_on_from_a_checkpoint_equals_never_stopping(tmp_path: Path) -> None:
    """Would fail if Adam's moments, its step count or batch-norm statistics were lost."""
    straight, optimizer = network_and_optimizer()
    step(straight, optimizer, 1)
    save_training(tmp_path, straight, optimizer, {"rows": [{"epoch": 0}]})
    for seed in range(2, 12):
        step(straight, optimizer, seed)

    resumed, optimizer = network_and_optimizer()
    assert load_training(tmp_path, resumed, optimizer) == {"rows": [{"epoch": 0}]}
    for seed in range(2, 12):
        step(resumed, optimizer, seed)
    assert same(straight.state_dict(), resumed.state_dict())


def test_learning_rates_are_the_run_s_own(tmp_path: Path) -> None:
    """Would fail if a checkpoint brought back rates that the settings do not say."""
    network, optimizer = network_and_optimizer()
    step(network, optimizer, 1)
    save_training(tmp_path, network, optimizer, {})
    optimizer.param_groups[0]["lr"] = 0.5
    load_training(tmp_path, network, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 1e-3]


@pytest.mark.parametrize("position", [-3, 2000])
def test_one_flipped_bit_is_noticed_and_the_one_before_is_used(tmp_path: Path, position: int) -> None:
    """Would fail if a damaged file went into the weights: safetensors itself has no checksum."""
    network, optimizer = network_and_optimizer()
    step(network, optimizer, 1)
    save_training(tmp_path, network, optimizer, {"epoch": 0})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    step(network, optimizer, 2)
    save_training(tmp_path, network, optimizer, {"epoch": 1})
    last = tmp_path / "last.safetensors"
    content = bytearray(last.read_bytes())
    content[position] ^= 1
    last.write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.safetensors"):
        read_tensors(last)
    assert load_training(tmp_path, network, optimizer) == {"epoch": 0}
    assert same(network.state_dict(), before)


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    """Would fail if a first start looked like a broken one."""
    assert load_training(tmp_path, *network_and_optimizer()) is None


def test_half_precision_and_scalars_survive(tmp_path: Path) -> None:
    """Would fail if the checksum could not read every dtype that models have."""
    tensors = {"half": torch.ones(3, dtype=torch.bfloat16), "count": torch.tensor(7), "empty": torch.zeros(0, 4)}
    write_tensors(tmp_path / "a.safetensors", tensors, {"note": "ü"})
    read, state = read_tensors(tmp_path / "a.safetensors")
    assert same(read, tensors)
    assert state == {"note": "ü"}


def test_equal_checkpoints_are_equal_files(tmp_path: Path) -> None:
    """Would fail if two runs with the same weights could not be compared by their files' hashes."""
    for number in range(8):
        write_tensors(tmp_path / f"{number}.safetensors", {"a": torch.ones(2), "b": torch.zeros(3)}, {"epoch": 1})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
