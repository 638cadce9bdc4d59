"""Compiled blocks compute what eager ones do, for batches of other shapes as well."""

import copy

import pytest
import torch
from conftest import draw_story, small_config
from storyattn import StoryAttnForConditionalGeneration
from storyattn.training.engine.compilation import compile_blocks
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

SHAPES = ((4, 3), (3, 2))  # stories, frames; captions are of another length each


def has_compiler() -> bool:
    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False


@pytest.fixture(scope="module")
def models(small_processor):
    """A model and a compiled copy, with nothing drawn at random."""
    config = small_config(next_caption_dropout=0.0, num_reconstructed_frames=9)
    config.text_config.dropout = config.text_config.attention_dropout = 0.0
    config.adapt_to_tokenizer(small_processor.tokenizer)
    torch.manual_seed(0)
    eager = StoryAttnForConditionalGeneration(config).train()
    compiled = copy.deepcopy(eager)
    compile_blocks(compiled)
    return eager, compiled


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler here")
@torch._dynamo.config.patch(fake_tensor_cache_enabled=False)  # a cache that costs more than it saves for open sizes
def test_compiled_equals_eager(models, small_processor):
    graphs = []
    for stories, frames in SHAPES:
        drawn = [draw_story(seed, num_frames=frames) for seed in range(stories)]
        captions = [[f"{text or ''} {'again ' * stories}" for text in story["captions"]] for story in drawn]
        batch = small_processor(frames=[story["frames"] for story in drawn], captions=captions, return_tensors="pt")
        losses, gradients = [], []
        for model in models:
            model.zero_grad()
            output = model(**batch, return_loss=True)
            output.loss.backward()
            losses.append({"loss": output.loss, **output.loss_parts})
            gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        for name, loss in losses[0].items():
            assert losses[1][name].item() == pytest.approx(loss.item(), rel=1e-4), name
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert (gradients[1][name] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-7, name
        eager, compiled = (torch.cat([gradient.flatten() for gradient in named.values()]) for named in gradients)
        assert (compiled - eager).norm() <= 1e-4 * eager.norm()
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] >= 5, "nothing was compiled"
    assert graphs[1] - graphs[0] <= 3, "another shape was compiled anew"
