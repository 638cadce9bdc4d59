"""What users of transformers ask of a model beside loading it and `generate`; docs/transformers.md has the list."""

import copy
import inspect

import pytest
import torch
from conftest import draw_story, small_config
from pretrained_folders import save_decoder, save_text
from storyattn import StoryAttnForConditionalGeneration, StoryAttnModel, StoryAttnProcessor, build_processor
from transformers import AutoModelForMultimodalLM

CLASSES = pytest.mark.parametrize("cls", [StoryAttnModel, StoryAttnForConditionalGeneration])


@pytest.fixture(scope="module")
def inputs(small_processor) -> dict:
    stories = [draw_story(1, 3), draw_story(2, 2)]
    return dict(small_processor(*([story[name] for story in stories] for name in ("frames", "captions"))))


@pytest.fixture(scope="module")
def config(small_processor):
    config = small_config(num_story_layers=2)
    config.adapt_to_tokenizer(small_processor.tokenizer)
    return config


def fresh(cls, config):
    torch.manual_seed(0)
    return cls(copy.deepcopy(config)).eval()


# Outputs


@CLASSES
def test_a_tuple_has_what_the_dictionary_has(cls, config, inputs):
    model = fresh(cls, config)
    with torch.no_grad():
        named = model(**inputs, output_hidden_states=True, output_attentions=True)
        values = model(**inputs, output_hidden_states=True, output_attentions=True, return_dict=False)
        model.config.return_dict = False
        assert isinstance(model(**inputs), tuple)
    assert isinstance(values, tuple) and len(values) == len(named)
    for value, (name, expected) in zip(values, named.items()):
        pairs = zip(value, expected) if isinstance(expected, tuple) else [(value, expected)]
        assert all(torch.equal(one, other) for one, other in pairs), name


@CLASSES
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_hidden_states_and_attentions(cls, config, inputs, implementation):
    model = fresh(cls, config)
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        plain = model(**inputs)
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert plain.hidden_states is None and plain.attentions is None
    length = output.last_hidden_state.shape[1]
    assert [state.shape for state in output.hidden_states] == [(2, length, config.hidden_size)] * 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert torch.equal(plain.last_hidden_state, output.last_hidden_state)
    assert [weights.shape for weights in output.attentions] == [(2, config.num_attention_heads, length, length)] * 2
    later = torch.ones(length, length).triu(length // 3 + 1).bool()  # what is a frame further on
    for weights in output.attentions:
        assert torch.allclose(weights.sum(-1), torch.tensor(1.0), atol=1e-5)
        assert weights[:, :, later].abs().max() == 0, "it looks ahead"
        assert weights[1, :, : 2 * length // 3, 2 * length // 3 :].abs().max() == 0, "it looks at padding"


@CLASSES
def test_the_attentions_are_those_that_the_layers_compute_with(cls, config, inputs):
    model = fresh(cls, config)
    base = model.base_model
    layer, seen = base.story_transformer.layers[1], {}
    layer.attention.output.register_forward_pre_hook(lambda module, args: seen.update(attended=args[0]))
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
        normed = layer.attention_norm(output.hidden_states[1])
        values = layer.attention.key_value(normed).chunk(2, dim=-1)[1]
        values = values.unflatten(-1, (config.num_attention_heads, -1)).transpose(1, 2)
        attended = (output.attentions[1] @ values).transpose(1, 2).flatten(2)
    assert torch.allclose(attended, seen["attended"], atol=1e-5)


def test_the_configuration_asks_for_them(config, inputs, tmp_path):
    fresh(StoryAttnForConditionalGeneration, config).save_pretrained(tmp_path)
    options = {"output_hidden_states": True, "output_attentions": True, "attn_implementation": "eager"}
    model = AutoModelForMultimodalLM.from_pretrained(tmp_path, **options)
    with torch.no_grad():
        output = model(**inputs)
    assert len(output.hidden_states) == 3 and len(output.attentions) == 2
    with torch.no_grad():
        assert model(**inputs, output_attentions=False).attentions is None


def test_gradients_reach_hidden_states_and_attentions(config, inputs):
    model = fresh(StoryAttnForConditionalGeneration, config)
    output = model(**inputs, output_hidden_states=True, output_attentions=True, return_loss=True)
    output.hidden_states[0].retain_grad()
    (output.loss + output.attentions[0].square().sum()).backward()
    assert output.hidden_states[0].grad.abs().sum() > 0


@CLASSES
def test_names_that_the_library_looks_for(cls, config, inputs):
    model = fresh(cls, config)
    arguments = list(inspect.signature(model.forward).parameters)
    assert arguments[0] == model.main_input_name == "pixel_values"
    assert set(inputs) <= set(arguments) and {"output_attentions", "output_hidden_states"} <= set(arguments)
    assert isinstance(model.base_model, StoryAttnModel)
    assert model.can_generate() == (cls is StoryAttnForConditionalGeneration)
    assert model.num_parameters() == sum(weight.numel() for weight in model.parameters())
    assert model.get_memory_footprint() >= 4 * model.num_parameters()
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())


# Embeddings


@CLASSES
def test_embeddings_can_be_taken_and_replaced(cls, config):
    model = fresh(cls, config)
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    other = torch.nn.Embedding(embeddings.num_embeddings, embeddings.embedding_dim)
    model.set_input_embeddings(other)
    assert model.get_input_embeddings() is other
    if cls is StoryAttnForConditionalGeneration:
        layer = torch.nn.Linear(embeddings.embedding_dim, embeddings.num_embeddings, bias=False)
        model.set_output_embeddings(layer)
        assert model.get_output_embeddings() is layer


@pytest.mark.parametrize("tied", [True, False])
def test_added_tokens_are_read_and_written(small_processor, config, inputs, tmp_path, tied):
    config = copy.deepcopy(config)
    config.decoder_config.tie_word_embeddings = tied
    model, tokenizer = fresh(StoryAttnForConditionalGeneration, config), copy.deepcopy(small_processor.tokenizer)
    before = model(**inputs).describe_logits
    number = len(tokenizer)
    tokenizer.add_tokens(["fjord", "glacier"])
    assert model.resize_token_embeddings(len(tokenizer)).num_embeddings == number + 2
    processor = build_processor(model.config, tokenizer)
    words = processor([[draw_story(1)["frames"][0]]], [["A fjord, a glacier."]])
    assert (words["input_ids"] >= number).sum() == 2
    model.save_pretrained(tmp_path)
    loaded = StoryAttnForConditionalGeneration.from_pretrained(tmp_path).eval()
    for one in (model, loaded):
        assert one.config.vocab_size == one.config.text_config.vocab_size == number + 2
        assert one.text_decoder.config.vocab_size == one.model.text_encoder.config.vocab_size == number + 2
        assert (one.get_output_embeddings().weight is one.get_input_embeddings().weight) == tied
        with torch.no_grad():
            assert torch.allclose(one(**inputs).describe_logits[..., :number], before, atol=1e-5)
            assert one(**words, return_loss=True).describe_logits.shape[-1] == number + 2
    assert model.resize_token_embeddings(number).num_embeddings == number
    assert model.resize_token_embeddings(pad_to_multiple_of=64).num_embeddings % 64 == 0


def test_two_tokenizers_have_two_sizes(tmp_path):
    sources = {"text": str(save_text(tmp_path / "text")), "decoder": str(save_decoder(tmp_path / "decoder"))}
    model = StoryAttnForConditionalGeneration.from_pretrained_parts(**sources, config=small_config())
    read, written = model.config.text_config.vocab_size, model.config.vocab_size
    model.resize_token_embeddings(written + 3)
    model.base_model.resize_token_embeddings(read + 1)
    assert model.get_input_embeddings().num_embeddings == model.config.vocab_size == written + 3
    assert model.base_model.get_input_embeddings().num_embeddings == model.config.text_config.vocab_size == read + 1
    processor = StoryAttnProcessor.from_pretrained_parts(model.config, **sources)
    assert len(processor.tokenizer) == read
    story = draw_story(1, 2)
    with torch.no_grad():
        output = model(**processor([story["frames"]], [story["captions"]]), return_loss=True)
    assert torch.isfinite(output.loss) and output.describe_logits.shape[-1] == written + 3


# Training


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_of_both_kinds(config, inputs, reentrant):
    model = fresh(StoryAttnForConditionalGeneration, config).train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.text_decoder.modules())
    model(**inputs, return_loss=True).loss.backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not without
    model.gradient_checkpointing_disable()
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


TARGETS = ["q_proj", "v_proj", "q_lin", "query", "key_value"]  # of the text decoder, the text encoder, and the blocks


def test_lora_of_the_whole_model(config, inputs, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    model = peft.get_peft_model(
        fresh(StoryAttnForConditionalGeneration, config).train(), peft.LoraConfig(r=2, target_modules=TARGETS)
    )
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs, return_loss=True).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"adapter_model.safetensors"}
    plain = fresh(StoryAttnForConditionalGeneration, config)
    with torch.no_grad():
        before, expected = plain(**inputs).describe_logits, model.eval()(**inputs).describe_logits
        loaded = peft.PeftModel.from_pretrained(plain, tmp_path).eval()
        assert torch.allclose(loaded(**inputs).describe_logits, expected, atol=1e-5)
        assert not torch.allclose(before, expected, atol=1e-3)
        assert loaded.generate(**inputs, max_new_tokens=3, min_new_tokens=3).shape == (2, 3)
        merged = loaded.merge_and_unload()
        assert type(merged) is StoryAttnForConditionalGeneration
        assert torch.allclose(merged(**inputs).describe_logits, expected, atol=1e-5)


def test_adapters_of_the_librarys_own_methods(config, inputs, tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    model = fresh(StoryAttnForConditionalGeneration, config)
    model.save_pretrained(tmp_path / "whole")
    model.add_adapter(peft.LoraConfig(r=2, target_modules=TARGETS, init_lora_weights=False))
    model.save_pretrained(tmp_path / "adapter")
    assert [path.name for path in (tmp_path / "adapter").glob("*.safetensors")] == ["adapter_model.safetensors"]
    loaded = StoryAttnForConditionalGeneration.from_pretrained(tmp_path / "whole")
    with torch.no_grad():
        before = loaded.eval()(**inputs).describe_logits
        loaded.load_adapter(tmp_path / "adapter")
        adapted = loaded.eval()(**inputs).describe_logits
        assert torch.allclose(adapted, model.eval()(**inputs).describe_logits, atol=1e-5)
        assert not torch.allclose(adapted, before, atol=1e-3)
        loaded.disable_adapters()
        assert torch.allclose(loaded(**inputs).describe_logits, before, atol=1e-5)


# Export


@pytest.fixture(scope="module")
def exported_config(config):
    """The configuration with one story layer: a second is exported as the first."""
    config = copy.deepcopy(config)
    config.num_story_layers = 1
    return config


@CLASSES
@pytest.mark.slow
@torch._dynamo.config.patch(fake_tensor_cache_enabled=False)  # a cache that costs more than it saves for open sizes
def test_export_for_open_sizes(cls, exported_config, small_processor, tmp_path):
    """Numbers of stories and frames and the length of captions may be left open; a whole model then wants 3 frames.

    Once saved and loaded, it computes what the model does.
    """
    model = fresh(cls, exported_config)
    model.config.decoder_context_captions = 1
    numbers = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    captions = {**numbers, 2: torch.export.Dim.DYNAMIC}
    dims = {"pixel_values": numbers, "frame_mask": numbers, "input_ids": captions, "attention_mask": captions}

    def read(batch: int, length: int) -> dict:
        stories = [draw_story(seed, length - seed % 2) for seed in range(batch)]
        return dict(small_processor(*([story[name] for story in stories] for name in ("frames", "captions"))))

    with torch.no_grad():
        exported = torch.export.export(model, (), read(5, 4), strict=False, dynamic_shapes=dims)
        torch.export.save(exported, tmp_path / "model.pt2")
        exported = torch.export.load(tmp_path / "model.pt2").module()
        for batch, length, cut in ((2, 3, 0), (3, 4, 3), (1, 4, 1)):
            inputs = read(batch, length)
            inputs |= {name: inputs[name][..., : 16 - cut] for name in ("input_ids", "attention_mask")}
            outputs = exported(**inputs)
            for name, value in model(**inputs).items():
                assert outputs[name].shape == value.shape and torch.allclose(outputs[name], value, atol=1e-5), name
