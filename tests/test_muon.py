"""Muon and AdamW as one optimizer."""

import copy

import pytest
import torch
from storyattn.training.arguments import TrainingArguments
from storyattn.training.engine.muon import UPDATE_SIZE, MuonAdamW, muon_weights, orthogonalized
from storyattn.training.engine.optimizer import build_optimizer
from torch import nn


def test_singular_values_become_about_one():
    matrices = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    for turned in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalized(turned))
        assert values.min() > 0.6 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    nearest = left @ right
    assert torch.cosine_similarity(orthogonalized(matrices).flatten(1), nearest.flatten(1)).min() > 0.95


def test_a_matrix_takes_steps_of_the_size_of_adamw_and_decays():
    weight = nn.Parameter(torch.ones(16, 64))
    weight.grad = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    MuonAdamW([{"params": [weight], "lr": 0.1, "weight_decay": 0.5, "use_muon": True}]).step()
    update = weight.detach() - 0.95
    assert update.square().mean().sqrt().item() == pytest.approx(0.1 * UPDATE_SIZE, rel=0.2)
    assert (update * weight.grad).sum() < 0


def test_what_is_no_matrix_is_updated_by_adamw():
    torch.manual_seed(0)
    weights = {name: torch.randn(4, 4) for name in ("muon", "both", "alone")}
    grads = torch.randn(4, 4)
    parameters = {name: nn.Parameter(weights["both"].clone()) for name in weights}
    for parameter in parameters.values():
        parameter.grad = grads.clone()
    groups = [
        {"params": [parameters["muon"]], "lr": 0.01, "weight_decay": 0.0, "use_muon": True},
        {"params": [parameters["both"]], "lr": 0.01, "weight_decay": 0.0, "use_muon": False},
    ]
    MuonAdamW(groups, lr=0.01, betas=(0.9, 0.95)).step()
    torch.optim.AdamW([parameters["alone"]], lr=0.01, weight_decay=0.0, betas=(0.9, 0.95)).step()
    assert torch.equal(parameters["both"], parameters["alone"])
    assert not torch.allclose(parameters["muon"], parameters["alone"])


def test_embeddings_and_depthwise_convolutions_are_left_to_adamw(small_model):
    matrices = muon_weights(small_model)
    named = {name for name, weight in small_model.named_parameters() if weight in matrices}
    for part in ("frame_decoder.layers.0.mlp", "painter.blocks.0", "text_encoder", "text_decoder.model.layers.0"):
        assert [name for name in named if part in name]
    assert not [name for name in named if "word_embeddings" in name or "embed_tokens" in name or "dwconv" in name]
    assert small_model.text_decoder.lm_head.weight not in matrices  # it is the embeddings' own
    assert all(weight.ndim > 1 for weight in matrices)


def test_its_state_is_restored(small_model):
    """A step after restoring equals the step that would have come."""
    args = TrainingArguments(optimizer="muon")
    optimizer = build_optimizer(small_model, args)
    generator = torch.Generator().manual_seed(0)

    def step(optimizer):
        for parameter in small_model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    step(optimizer)
    saved = {name: value.clone() for name, value in small_model.state_dict().items()}
    state, drawn = copy.deepcopy(optimizer.state_dict()), generator.get_state()
    step(optimizer)
    expected = {name: value.clone() for name, value in small_model.state_dict().items()}
    small_model.load_state_dict(saved)
    restored = build_optimizer(small_model, args)
    restored.load_state_dict(state)
    generator.set_state(drawn)
    step(restored)
    assert all(torch.equal(value, expected[name]) for name, value in small_model.state_dict().items())


def test_lower_precision_makes_matrices_orthogonal_too():
    matrices = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    lower = orthogonalized(matrices, torch.bfloat16)
    assert lower.dtype == matrices.dtype
    assert torch.cosine_similarity(lower.flatten(1), orthogonalized(matrices).flatten(1)).min() > 0.99
