"""Launch files: what accelerate makes of them."""

import os
import subprocess
import sys
import warnings
from importlib.resources import files

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin

FOLDER = files("storyattn.configuration") / "accelerate"
NAMES = sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".yaml"))
# By file: kind of distribution, processes, precision, whether it keeps to the CPU.
EXPECTED = {
    "cpu.yaml": ("NO", 1, "no", True),
    "fsdp2.yaml": ("FSDP", 2, "bf16", False),
    "gpu_bf16.yaml": ("NO", 1, "bf16", False),
    "gpu_fp16.yaml": ("NO", 1, "fp16", False),
    "multi_cpu.yaml": ("MULTI_GPU", 2, "no", True),
    "multi_gpu.yaml": ("MULTI_GPU", 2, "bf16", False),
}


@pytest.mark.parametrize("name", NAMES)
def test_accelerate_understands_every_key(name):
    """Its loader refuses unknown keys, but for those below `fsdp_config`, which are options."""
    config = load_config_from_file(str(FOLDER / name))
    read = str(config.distributed_type.value), config.num_processes, config.mixed_precision, config.use_cpu
    assert read == EXPECTED[name]
    options = vars(launch_command_parser().parse_args(["train.py"]))
    assert set(config.fsdp_config) <= set(options)
    assert (FOLDER / name).read_text().startswith("# ")


def test_shards_are_those_of_fsdp2(monkeypatch):
    config = load_config_from_file(str(FOLDER / "fsdp2.yaml")).fsdp_config
    for name, value in config.items():  # as the launcher hands them on
        monkeypatch.setenv(name.upper(), str(value).lower() if isinstance(value, bool) else str(value))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert plugin.auto_wrap_policy is not None and not plugin.cpu_ram_efficient_loading


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch has no gloo here")
def test_processes_on_the_cpu_form_a_group(tmp_path):
    script = tmp_path / "script.py"
    line = 'f"{a.num_processes} {a.device.type}\\n".encode()'  # written at once: both write to one pipe
    script.write_text(f"import os\nfrom accelerate import Accelerator\na = Accelerator()\nos.write(1, {line})\n")
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--main_process_port=0"]
    command += [f"--config_file={FOLDER / 'multi_cpu.yaml'}", str(script)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.split()) == ["2", "2", "cpu", "cpu"]
