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
    "two_machines.yaml": ("MULTI_GPU", 16, "bf16", False),
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


def test_the_slurm_job_launches_on_every_node_and_resumes(tmp_path):
    """SLURM's commands are stand-ins that print what they are asked to run."""
    commands = {"scontrol": 'echo "node1\nnode2"', "srun": 'SLURM_NODEID=1 exec "$@"', "accelerate": 'echo "$@"'}
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-2]"}
    environment |= {"SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "8"}
    job = str(FOLDER.parent / "slurm" / "train.sbatch")

    def launched() -> str:
        command = ["bash", job, "recipe.yaml", str(tmp_path / "my run"), "--seed=1"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "--num_machines 2 --num_processes 16 --machine_rank 1 --main_process_ip node1 train.py" in launched()
    assert launched().endswith(f"train.py recipe.yaml --output_dir {tmp_path / 'my run'} --seed=1\n")
    (tmp_path / "my run" / "checkpoints").mkdir(parents=True)
    assert launched().endswith("--seed=1 --resume_from_checkpoint latest\n")
