"""The optimizer of training: which parts learn at which rate, and what does not decay."""

import torch

# The parts of the model that may have a learning rate of their own, by the flag that gives it.
PARTS = {
    "vision_learning_rate": "model.vision_encoder.backbone.",
    "text_learning_rate": "model.text_encoder.",
    "decoder_learning_rate": "text_decoder.",
}


def build_optimizer(model: torch.nn.Module, args) -> torch.optim.AdamW:
    """
    AdamW over what is trained: a group for each part of the model that has a learning rate of its own, parted into
    weights and what does not decay, biases, norms and scalars (all of one dimension or none).
    """
    groups: dict[tuple, list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rates = [getattr(args, flag) for flag, prefix in PARTS.items() if name.startswith(prefix)]
            rate = next((rate for rate in rates if rate is not None), args.learning_rate)
            decay = args.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()],
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
    )
