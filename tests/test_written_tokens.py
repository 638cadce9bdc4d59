"""Lengths and penalties of `generate` count what is written; a batch writes what each story writes alone."""

import pytest
import torch
import transformers
from conftest import draw_story, uneven_model
from packaging.version import Version
from storyattn import StoryAttnForConditionalGeneration
from transformers import GenerationConfig

SEARCHES = {"greedy": {"do_sample": False}, "beams": {"num_beams": 3, "do_sample": False}, "drawn": {"do_sample": True}}


@pytest.fixture(scope="module", params=[0, 2], ids=["state alone", "with captions"])
def model(request, small_processor) -> StoryAttnForConditionalGeneration:
    return uneven_model(small_processor, request.param, std=0.3)


@pytest.fixture(scope="module")
def inputs(small_processor) -> dict[str, dict]:
    """A long story, a short one, and both in a batch."""
    long, short = draw_story(1, 3), {**draw_story(2, 1), "captions": ["Owl."]}
    stories = {"long": [long], "short": [short], "both": [long, short]}
    fields = ("frames", "captions")
    return {
        name: dict(small_processor(*([story[field] for story in chosen] for field in fields)))
        for name, chosen in stories.items()
    }


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def lengths(model, ids: torch.Tensor) -> list[int]:
    """Count the tokens of each row up to and with the end token."""
    ended = (ids == model.config.eos_token_id).cumsum(1) - (ids == model.config.eos_token_id).long() > 0
    return (~ended).sum(1).tolist()


@pytest.mark.parametrize("search", SEARCHES)
def test_max_length_counts_written_tokens(model, inputs, search):
    never_ends = {"suppress_tokens": [model.config.eos_token_id], **SEARCHES[search]}
    for name, length in (("long", 7), ("short", 7), ("both", 7), ("both", 1)):
        assert model.generate(**inputs[name], max_length=length, **never_ends).shape[1] == length
    given = GenerationConfig(max_length=5, **never_ends)
    assert model.generate(**inputs["both"], generation_config=given).shape[1] == 5


@pytest.mark.parametrize("search", SEARCHES)
def test_min_length_counts_written_tokens(model, inputs, search):
    soon = {"sequence_bias": {(model.config.eos_token_id,): 50.0}, **SEARCHES[search]}
    assert lengths(model, model.generate(**inputs["both"], **soon)) == [1, 1]
    for name in inputs:
        ids = model.generate(**inputs[name], min_length=9, max_length=20, **soon)
        assert set(lengths(model, ids)) == {10}, "nine tokens and the end"


def test_new_tokens_win_over_lengths(model, inputs):
    options = {"do_sample": False, "suppress_tokens": [model.config.eos_token_id]}
    assert model.generate(**inputs["both"], max_length=9, max_new_tokens=4, **options).shape[1] == 4
    soon = {"do_sample": False, "sequence_bias": {(model.config.eos_token_id,): 50.0}}
    ids = model.generate(**inputs["both"], min_length=9, min_new_tokens=3, max_length=20, **soon)
    assert set(lengths(model, ids)) == {4}


def test_options_come_from_call_then_configuration_then_model(model, inputs, monkeypatch):
    monkeypatch.setattr(model.generation_config, "max_length", 6)
    monkeypatch.setattr(model.generation_config, "suppress_tokens", [model.config.eos_token_id])
    assert model.generate(**inputs["both"], do_sample=False).shape[1] == 6
    beams = GenerationConfig(num_beams=2, do_sample=False)
    assert model.generate(**inputs["both"], generation_config=beams).shape[1] == 6
    assert model.generate(**inputs["both"], generation_config=beams, max_length=3).shape[1] == 3


ALL_TOGETHER = {
    "repetition_penalty": 1.8,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[20], [21, 22]],
    "encoder_repetition_penalty": 0.8,
    "encoder_no_repeat_ngram_size": 2,
    "sequence_bias": {(30,): -5.0},
    "exponential_decay_length_penalty": (4, 1.1),
    "begin_suppress_tokens": [40, 41],
    "suppress_tokens": [50],
    "min_length": 6,
    "max_length": 10,
}


@pytest.mark.parametrize(
    ("search", "option"),
    [*(("greedy", option) for option in ALL_TOGETHER), *((s, "all together") for s in SEARCHES)][:-1],
)
def test_a_batch_writes_what_each_story_writes_alone(model, inputs, search, option):
    options = ALL_TOGETHER if option == "all together" else {"max_length": 10, option: ALL_TOGETHER[option]}
    options = {**options, **SEARCHES[search], "task": "describe" if option.startswith("encoder") else "continue"}
    together = model.generate(**inputs["both"], **options)
    for row, name in enumerate(("long", "short")):
        alone = model.generate(**inputs[name], **options)
        assert lengths(model, alone)[0] == lengths(model, together)[row]
        length = lengths(model, alone)[0]
        assert torch.equal(together[row, :length], alone[0, :length]), name


def test_repeated_tokens_are_penalised_from_the_first_on(model, inputs):
    options = {"do_sample": False, "max_length": 12, "output_logits": True, "output_scores": True}
    options |= {"return_dict_in_generate": True, "suppress_tokens": [model.config.eos_token_id]}
    for name in ("long", "short", "both"):
        output = model.generate(**inputs[name], repetition_penalty=1.5, **options)
        for step, (logits, scores) in enumerate(zip(output.logits, output.scores)):
            written = torch.zeros_like(logits, dtype=torch.bool)
            written.scatter_(1, output.sequences[:, :step], True)
            expected = torch.where(written, torch.where(logits < 0, logits * 1.5, logits / 1.5), logits)
            expected[:, model.config.eos_token_id] = -torch.inf
            assert torch.equal(scores, expected), (name, step)


def test_captions_that_were_read_are_penalised_or_not_repeated(model, inputs):
    """By what stands in the captions of a story: neither padding nor what another story says, nor special tokens."""
    batch = inputs["both"]
    special = {model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id}
    options = {"do_sample": False, "max_length": 1, "output_logits": True, "output_scores": True}
    options["return_dict_in_generate"] = True
    for task in ("continue", "describe"):
        output = model.generate(**batch, encoder_repetition_penalty=2.0, task=task, **options)
        for row, frames in enumerate(batch["frame_mask"].sum(1).tolist()):
            read = range(frames - int(task == "describe"))
            tokens = {token for frame in read for token in batch["input_ids"][row, frame].tolist()} - special
            expected = output.logits[0][row].clone()
            for token in tokens:
                expected[token] = expected[token] / 2.0 if expected[token] < 0 else expected[token] * 2.0
            assert torch.equal(output.scores[0][row], expected), (task, row)
        output = model.generate(**batch, encoder_no_repeat_ngram_size=1, task=task, **options)
        forbidden = [set(row.isneginf().nonzero().flatten().tolist()) for row in output.scores[0]]
        assert tokens == forbidden[-1], task


def test_runs_of_tokens_in_captions_are_not_repeated(model, inputs):
    one = inputs["long"]
    caption = one["input_ids"][0, 0][one["attention_mask"][0, 0].bool()].tolist()[1:-1]
    assert len(caption) > 3
    options = {"max_length": 2, "do_sample": False, "sequence_bias": {(caption[1],): 99.0}}
    options["prefix_allowed_tokens_fn"] = lambda story, ids: [caption[1], 7] if len(ids) else [caption[0]]
    for size, second in ((None, caption[1]), (2, 7), (3, caption[1])):
        ids = model.generate(**one, encoder_no_repeat_ngram_size=size, **options)
        assert ids[0].tolist() == [caption[0], second], size


def test_the_first_token_can_be_forced(model, inputs):
    ids = model.generate(**inputs["both"], forced_bos_token_id=77, do_sample=False, max_length=5)
    assert (ids[:, 0] == 77).all() and not (ids[:, 1] == 77).all()


@pytest.mark.skipif(Version(transformers.__version__) < Version("5.18"), reason="refused below transformers 5.18")
@pytest.mark.parametrize("story", ["long", "short"])
def test_prompt_lookup_changes_nothing(model, inputs, small_processor, story):
    """Also of a story whose captions have gaps, which pads what is read before writing."""
    gap = draw_story(1, 3)
    gap["captions"][1] = None
    gap = dict(small_processor([gap["frames"]], [gap["captions"]]))
    for one in (inputs[story], gap):
        options = {"do_sample": False, "max_new_tokens": 12}
        expected = model.generate(**one, **options)
        assert torch.equal(model.generate(**one, **options, prompt_lookup_num_tokens=3), expected)


REFUSED = {
    "max_length": {"max_length": 0},
    "min_length": {"min_length": -1},
    "repetition_penalty": {"repetition_penalty": -1.0},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": float("nan")},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1.5},
    "prompt_lookup_num_tokens": {"prompt_lookup_num_tokens": 2},
    "max_new_tokens": {"max_new_tokens": 10**9},
    "min_new_tokens": {"min_new_tokens": -2},
    "num_beams": {"num_beams": 10**6},
    "num_return_sequences": {"num_return_sequences": 10**6, "do_sample": True},
    "temperature": {"temperature": 1e-300, "do_sample": True},
    "length_penalty": {"length_penalty": float("nan"), "num_beams": 2},
    "pad_token_id": {"pad_token_id": -1},
    "forced_bos_token_id": {"forced_bos_token_id": 10**6},
    "forced_eos_token_id": {"forced_eos_token_id": [5, 10**6]},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (1, 1e300)},
    "cache_implementation": {"cache_implementation": "paged" * 99},
    "early_stopping": {"early_stopping": "maybe", "num_beams": 2},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": "2"},
    "top_k": {"top_k": 2.5, "do_sample": True},
    "top_p": {"top_p": "0.9", "do_sample": True},
    "eos_token_id": {"eos_token_id": "x"},
    "suppress_tokens": {"suppress_tokens": "x"},
    "bad_words_ids": {"bad_words_ids": [[5, 10**6]]},
    "stopping_criteria": {"stopping_criteria": 3},
    "logits_processor": {"logits_processor": 3},
    "prefix_allowed_tokens_fn": {"prefix_allowed_tokens_fn": 3},
    "streamer": {"streamer": 3},
    "task": {"task": "x" * 999},
    "generate": {"sequence_bias": {(5,): float("inf")}, "do_sample": True},
    "token_healing": {"token_healing": True},
    "prefill_chunk_size": {"prefill_chunk_size": 4},
    "inputs_embeds": {"inputs_embeds": torch.zeros(2, 3, 32)},
    "assistant_model": {"assistant_model": torch.nn.Linear(1, 1)},
    "generation_config": {"generation_config": {"max_length": 3}},
    "guidance_scale": {
        "guidance_scale": 2.0,
        "negative_prompt_ids": torch.ones(2, 1, dtype=torch.long),
        "num_beams": 2,
    },
    "negative_prompt_ids": {"guidance_scale": 2.0, "negative_prompt_ids": torch.ones(3, 1, dtype=torch.long)},
    "begin_suppress_tokens": {"begin_suppress_tokens": [5], "forced_bos_token_id": 6},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_by_name(model, inputs, name):
    with pytest.raises(ValueError, match=rf"^{name}: got .*, expected ") as refused:
        model.generate(**inputs["both"], **REFUSED[name])
    assert len(str(refused.value)) < 200 and "\n" not in str(refused.value)


def test_texts_for_numbers_are_refused_by_name(model, inputs):
    with pytest.raises(ValueError, match="^max_new_tokens: got str '5', expected another value: "):
        model.generate(**inputs["both"], do_sample=True, max_new_tokens="5")


def test_the_options_under_which_no_token_can_be_drawn_are_shown_in_one_line(model, inputs):
    """All tokens are suppressed; the library fails at several places, by the processors that it has."""
    options = {"do_sample": True, "suppress_tokens": list(range(300)), "top_k": 5, "typical_p": 0.9, "min_p": 0.1}
    options |= {
        "temperature": 1.5,
        "top_p": 0.9,
        "epsilon_cutoff": 0.01,
        "renormalize_logits": True,
        "max_new_tokens": 3,
    }
    for left_out in ((), ("typical_p", "epsilon_cutoff")):
        some = {name: value for name, value in options.items() if name not in left_out}
        with pytest.raises(ValueError, match="^generate: got do_sample bool True, .*, expected some token") as error:
            model.generate(**inputs["both"], **some)
        assert ("..., expected" in str(error.value)) == (not left_out) and len(str(error.value)) < 300
