"""The optimizer of training: which parts of the model learn at which rate, and which weights do not decay."""

import torch

from ..arguments import TrainingArguments
from .muon import MuonAdamW, muon_weights

# The parts of the model that may have a learning rate of their own: the flag that sets it, and the prefix of the
# part's weights.
LEARNING_RATE_PARTS = {
    "vision_learning_rate": "model.vision_encoder.backbone.",
    "text_learning_rate": "model.text_encoder.",
    "decoder_learning_rate": "text_decoder.",
}


def build_optimizer(model: torch.nn.Module, args: TrainingArguments) -> torch.optim.AdamW:
    """
    Return the optimizer of the weights that are trained, in groups by learning rate and weight decay.

    Weights of one dimension or none (biases, norms and scalars) do not decay. With `args.optimizer` of `muon` the
    matrices of `muon_weights` are updated by Muon and everything else by AdamW.
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
        return MuonAdamW(described, **options)
    return torch.optim.AdamW(described, **options)
