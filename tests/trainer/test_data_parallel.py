"""What several processes train is what one process trains."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from trainer.data.sharding import WHOLE

PROGRAM = Path(__file__).with_name("data_parallel_program.py")
PROCESSES = 2
METHODS = ("ccd", "role", "ll_cp", "sarb", "asl")

States = dict[str, dict[str, Tensor]]


@pytest.fixture(scope="module")
def of_each_process(tmp_path_factory: pytest.TempPathFactory) -> list[States]:
    folder = tmp_path_factory.mktemp("states")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, PROGRAM, folder], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("data_parallel_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", METHODS)
def test_processes_agree_to_the_bit(of_each_process: list[States], method: str) -> None:
    """Would fail if random numbers, statistics or a memory went apart: nothing would ever bring them back together."""
    first, *others = (states[method] for states in of_each_process)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_they_train_what_one_process_trains(of_each_process: list[States], program: ModuleType, method: str) -> None:
    """Would fail if a loss, a gradient or batch norm were a mean of shares instead of the whole batch's."""
    alone, shared = program.train(method, WHOLE), of_each_process[0][method]
    for name, expected in alone.items():
        torch.testing.assert_close(shared[name], expected, rtol=1e-3, atol=1e-4, equal_nan=True, msg=name)
