"""The optimizer of training and its schedule: which parts learn at which rate, and which weights do not decay."""

import torch
from transformers import get_scheduler

from ..arguments import TrainingArguments
from .muon import MuonAdamW, muon_weights

# The parts of the model that may have a learning rate of their own: the flag that sets it, and the prefix of the
# part's weights.
LEARNING_RATE_PARTS = {
    "vision_learning_rate": "model.vision_encoder.backbone.",
    "text_learning_rate": "model.text_encoder.",
    "decoder_learning_rate": "text_decoder.",
}


def build_optimizer(model: torch.nn.Module, args: TrainingArguments, mixed_precision: str = "no") -> torch.optim.AdamW:
    """
    Return the optimizer of the weights that are trained, in groups by learning rate and weight decay.

    Weights of one dimension or none (biases, norms and scalars) do not decay. With `args.optimizer` of `muon` the
    matrices of `muon_weights` are updated by Muon and everything else by AdamW; with `mixed_precision` of "bf16" Muon
    computes in bfloat16.
    """
    matrices = muon_weights(model) if args.optimizer == "muon" else set()
    groups: dict[tuple, list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rates = [getattr(args, flag) for flag, prefix in LEARNING_RATE_PARTS.items() if name.startswith(prefix)]
            common = args.muon_learning_rate if parameter in matrices else None
            rate = next((rate for rate in (*rates, common) if rate is not None), args.learning_rate)
            decay = args.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay, parameter in matrices), []).append(parameter)
    options = {"lr": args.learning_rate, "betas": (args.adam_beta1, args.adam_beta2)}
    described = [
        {"params": params, "lr": rate, "weight_decay": decay, "use_muon": use_muon}
        for (rate, decay, use_muon), params in groups.items()
    ]
    if args.optimizer == "muon":
        precision = torch.bfloat16 if mixed_precision == "bf16" else torch.float32
        return MuonAdamW(described, precision=precision, **options)
    return torch.optim.AdamW(described, **options)


def build_scheduler(
    args: TrainingArguments, optimizer: torch.optim.Optimizer, num_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """
    Return the schedule of the learning rates over `num_steps` optimizer steps.

    With `warmup_stable_decay` the last `args.decay_steps` steps decay as 1 minus the square root of their share
    (Hägele et al., arXiv 2405.18392).
    """
    decay = {"num_decay_steps": args.decay_steps, "decay_type": "1-sqrt"} if args.decay_steps else None
    return get_scheduler(args.lr_scheduler_type, optimizer, args.warmup_steps, num_steps, decay)


def describe_optimizer(args: TrainingArguments) -> str:
    """Return the optimizer, its highest rates and its schedule in one line."""
    name, rate = "AdamW", f"learning rate {args.learning_rate:g}"
    if args.optimizer == "muon":
        muon_rate = args.muon_learning_rate or args.learning_rate
        name, rate = "Muon and AdamW", f"learning rates {muon_rate:g} and {args.learning_rate:g}"
    decay = f" that decays over the last {args.decay_steps} steps" if args.decay_steps else ""
    return f"{name}, {rate}, {args.lr_scheduler_type} schedule{decay}"
