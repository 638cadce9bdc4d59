"""How a model computes: compiled, or some of it twice to save memory."""

import torch
from storyattn.frame_decoder import Painter
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

# Blocks of all kinds share the code that calls them, and each kind is compiled for training and for evaluation.
RECOMPILE_LIMIT = 64


def compile_blocks(model: torch.nn.Module) -> None:
    """
    Let torch compile every attention block and the painter in place, each kind once.

    The model as a whole would be compiled again for every number of frames and length of captions, minutes each time.
    """
    # Numbers such as rates of dropout are constants of a block. Traced as variables, each kind is compiled twice.
    torch._dynamo.config.specialize_float = True
    torch._dynamo.config.recompile_limit = max(RECOMPILE_LIMIT, torch._dynamo.config.recompile_limit)
    for module in model.modules():
        if isinstance(module, (GradientCheckpointingLayer, Painter)):
            module.compile(dynamic=True)


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Let a model compute activations twice to save memory, by the method that its version of transformers has."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
