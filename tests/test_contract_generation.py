"""What users of transformers do with `generate`, on StoryAttn; what test_generation.py has is not here again."""

import pytest
import torch
import transformers
from conftest import draw_story, uneven_model
from packaging.version import Version
from storyattn import StoryAttnForConditionalGeneration
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
)

GREEDY = {"do_sample": False, "max_new_tokens": 10}


@pytest.fixture(scope="module")
def model(small_processor) -> StoryAttnForConditionalGeneration:
    return uneven_model(small_processor, 1, std=0.5)


@pytest.fixture(scope="module")
def inputs(small_processor) -> dict:
    stories = [draw_story(1, 3), draw_story(2, 2)]
    return dict(small_processor(*([story[name] for story in stories] for name in ("frames", "captions"))))


@pytest.fixture(scope="module")
def greedy(model, inputs) -> torch.Tensor:
    written = model.generate(**inputs, **GREEDY)
    assert written.shape == (2, 10) and len(written.unique()) > 4, "nothing to tell apart"
    return written


@pytest.mark.parametrize("kind", ["dynamic", "static", "static object"])
def test_caches(model, inputs, greedy, kind):
    if kind == "static object":
        cache = StaticCache(model.text_decoder.config, max_cache_len=60)
        written = model.generate(**inputs, **GREEDY, past_key_values=cache, disable_compile=True)
        assert cache.get_seq_length() > 10, "it was not used"
    else:
        written = model.generate(**inputs, **GREEDY, cache_implementation=kind, disable_compile=True)
    assert torch.equal(written, greedy)


def test_everything_that_generate_returns(model, inputs, greedy):
    wanted = {"output_scores", "output_logits", "output_attentions", "output_hidden_states"}
    model.set_attn_implementation("eager")
    output = model.generate(**inputs, **GREEDY, **dict.fromkeys(wanted, True), return_dict_in_generate=True)
    model.set_attn_implementation("sdpa")
    assert torch.equal(output.sequences, greedy) and isinstance(output.past_key_values, DynamicCache)
    for name in ("scores", "logits", "attentions", "hidden_states"):
        assert len(output[name]) == 10, name
    assert torch.equal(torch.stack([scores.argmax(-1) for scores in output.scores], dim=1), greedy)
    assert output.attentions[1][0].shape[-2] == output.hidden_states[1][0].shape[1] == 1
    likely = model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
    assert likely.shape == (2, 10) and (likely <= 0).all()


@pytest.mark.parametrize(
    "search",
    [{}, {"do_sample": True}, {"length_penalty": 0.5, "early_stopping": True}],
    ids=["beams", "drawn", "short"],
)
def test_beams(model, inputs, search):
    options = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6, "do_sample": False, **search}
    torch.manual_seed(0)
    output = model.generate(**inputs, **options, return_dict_in_generate=True, output_scores=True)
    assert output.sequences.shape[0] == 4 and output.sequences_scores.shape == (4,)
    best, second = output.sequences_scores.view(2, 2).unbind(1)
    assert (best >= second).all() and not torch.equal(output.sequences[0], output.sequences[1])


def test_sampling_is_that_of_the_seed(model, inputs):
    options = {"do_sample": True, "top_k": 20, "top_p": 0.9, "temperature": 1.5, "max_new_tokens": 8}
    written = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        written.append(model.generate(**inputs, **options, min_new_tokens=8))
    assert torch.equal(written[0], written[1]) and not torch.equal(written[0], written[2])


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.18"),
    reason="below transformers 5.18 its prompt lookup writes something else wherever a text begins with embeddings",
)
def test_speculation_by_what_was_read(model, inputs, greedy):
    one = {name: value[:1] for name, value in inputs.items()}
    assert torch.equal(model.generate(**one, **GREEDY, prompt_lookup_num_tokens=2), greedy[:1])


def test_guidance_away_from_what_is_written_without_the_story(model, inputs, greedy):
    """By the library, from a start of the caller's; all that the decoder reads of the story has no ids."""
    start = torch.full((2, 1), model.config.bos_token_id)
    options = {**GREEDY, "output_logits": True, "output_scores": True, "return_dict_in_generate": True}
    output = model.generate(**inputs, **options, guidance_scale=1.5, negative_prompt_ids=start)
    assert not torch.equal(output.sequences, greedy)
    for index, (logits, scores) in enumerate(zip(output.logits, output.scores)):
        with torch.no_grad():
            alone = model.text_decoder(torch.cat([start, output.sequences[:, :index]], dim=1)).logits[:, -1]
        alone, with_prompt = alone.log_softmax(-1), logits.log_softmax(-1)
        assert torch.allclose(scores, alone + 1.5 * (with_prompt - alone), atol=1e-4)
    with pytest.raises(ValueError, match="guidance_scale: got 1.5 without negative_prompt_ids"):
        model.generate(**inputs, **GREEDY, guidance_scale=1.5)


class AfterThree(StoppingCriteria):
    """Stops the first story after three tokens."""

    def __call__(self, input_ids, scores, **kwargs):
        stop = torch.zeros(len(input_ids), dtype=torch.bool)
        stop[0] = input_ids.shape[1] >= 3
        return stop


class Always(LogitsProcessor):
    """Leaves one token."""

    def __call__(self, input_ids, scores):
        only = torch.full_like(scores, -torch.inf)
        only[:, 7] = 0
        return only


def test_stopping_and_choosing(model, small_processor, inputs, greedy):
    stopped = model.generate(**inputs, **GREEDY, stopping_criteria=StoppingCriteriaList([AfterThree()]))
    pad = model.config.pad_token_id
    assert torch.equal(stopped[0, :3], greedy[0, :3]) and (stopped[0, 3:] == pad).all()
    assert torch.equal(stopped[1], greedy[1])
    chosen = model.generate(**inputs, **GREEDY, logits_processor=LogitsProcessorList([Always()]))
    assert (chosen == 7).all()
    one = {name: value[:1] for name, value in inputs.items()}
    texts = [small_processor.decode(greedy[0, place : place + 1]) for place in range(greedy.shape[1])]
    place = next(place for place, text in enumerate(texts) if text.isascii() and text.isprintable() and text.strip())
    stopped = model.generate(**one, **GREEDY, stop_strings=[texts[place]], tokenizer=small_processor.tokenizer)
    assert stopped.shape[1] <= place + 1 and torch.equal(stopped, greedy[:1, : stopped.shape[1]])
    others = {"bad_words_ids": [[int(greedy[0, 0])]], "sequence_bias": {(int(greedy[1, 0]),): -100.0}}
    for name, value in others.items():
        row = int(name == "sequence_bias")
        assert model.generate(**inputs, **GREEDY, **{name: value})[row, 0] != greedy[row, 0], name
    allowed = model.generate(**inputs, **GREEDY, prefix_allowed_tokens_fn=lambda batch, ids: [5, 6])
    assert set(allowed.unique().tolist()) <= {5, 6}
    repeated = model.generate(**inputs, **GREEDY, no_repeat_ngram_size=1)
    assert all(len(set(row.tolist())) == 10 for row in repeated)
    ended = model.generate(**inputs, **GREEDY, forced_eos_token_id=model.config.eos_token_id)
    assert (ended[:, -1] == model.config.eos_token_id).all()


def test_streamers(model, small_processor, inputs, greedy, capsys):
    one = {name: value[:1] for name, value in inputs.items()}
    expected = small_processor.decode(greedy[0], skip_special_tokens=True)
    TextStreamer(small_processor.tokenizer)  # takes a tokenizer or a processor
    model.generate(**one, **GREEDY, streamer=TextStreamer(small_processor, skip_special_tokens=True))
    assert capsys.readouterr().out.strip() == expected.strip()
    streamer = TextIteratorStreamer(small_processor.tokenizer, skip_special_tokens=True, timeout=30)
    model.generate(**one, **GREEDY, streamer=streamer)
    assert "".join(streamer).strip() == expected.strip()


def test_a_loop_of_ones_own(model, inputs, greedy):
    def custom_generate(model, input_ids, **kwargs):
        return model.get_input_embeddings().num_embeddings, kwargs["inputs_embeds"].shape[0]

    assert model.generate(**inputs, **GREEDY, custom_generate=custom_generate) == (model.config.vocab_size, 2)


def test_mistakes_in_names_are_named(model, inputs):
    with pytest.raises(ValueError, match="max_new_token'"):
        model.generate(**inputs, max_new_token=3)
