"""What a story model writes and paints: captions, next frames, and both in turn."""

import copy
import re

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, draw_story
from storyattn import Stories, Story, StoryAttnConfig, StoryAttnForConditionalGeneration

GREEDY = {"do_sample": False, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def stories() -> list[dict]:
    """Two drawn stories of two frames and one of one."""
    drawn = [draw_story(seed, num_frames=2) for seed in (1, 2)]
    return [*drawn, draw_story(3, num_frames=1)]


@pytest.fixture(scope="module", params=[0, 2], ids=["state alone", "with captions"])
def model(request, small_processor):
    """A model whose text decoder is drawn so uneven that it writes something else for each story."""
    torch.manual_seed(2)
    decoder = {**SMALL_CONFIG["decoder_config"], "tie_word_embeddings": False}
    config = StoryAttnConfig(**{**SMALL_CONFIG, "decoder_config": decoder}, decoder_context_captions=request.param)
    config.adapt_to_tokenizer(small_processor.tokenizer)
    model = StoryAttnForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.text_decoder.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model


@pytest.fixture
def inputs(small_processor, stories):
    return inputs_of(small_processor, stories)


def inputs_of(processor, stories, **changes) -> dict:
    frames, captions = ([story[name] for story in stories] for name in ("frames", "captions"))
    return dict(processor(**{"frames": frames, "captions": captions, **changes}, return_tensors="pt"))


@pytest.mark.parametrize("task", ["describe", "continue"])
def test_cached_and_uncached_generation_agree(model, inputs, task):
    lengths = []
    hook = model.text_decoder.model.layers[0].register_forward_hook(
        lambda layer, args, output: lengths.append(args[0].shape[1])
    )
    for search in ({}, {"num_beams": 3, "num_return_sequences": 2}):
        lengths.clear()
        cached = model.generate(**inputs, task=task, use_cache=True, **GREEDY, **search)
        first, *later = lengths
        assert set(later) == {1}
        lengths.clear()
        uncached = model.generate(**inputs, task=task, use_cache=False, **GREEDY, **search)
        assert lengths == [first + index for index in range(len(lengths))], "words were not read again"
        assert torch.equal(cached, uncached)
    hook.remove()
    assert len(cached.unique()) > 4, "nothing but a few tokens: this would compare nothing"


@pytest.mark.parametrize("task", ["describe", "continue"])
def test_generation_follows_the_logits_of_forward(model, small_processor, stories, task):
    """Token by token, greedy search takes what `forward` finds likeliest after the same words."""
    story = stories[0]
    inputs = inputs_of(small_processor, [story])
    written = model.generate(**inputs, task=task, do_sample=False, max_new_tokens=6)[0]
    bos = small_processor.tokenizer.bos_token_id
    written_ids = torch.cat([torch.tensor([bos]), written])
    length = max(len(written_ids), inputs["input_ids"].shape[-1])
    frames = inputs["pixel_values"] if task == "describe" else torch.cat([inputs["pixel_values"]] * 2, dim=1)[:, :3]
    ids, mask = (torch.zeros(1, frames.shape[1], length, dtype=torch.long) for _ in range(2))
    ids[:, :2, : inputs["input_ids"].shape[-1]] = inputs["input_ids"]
    mask[:, :2, : inputs["input_ids"].shape[-1]] = inputs["attention_mask"]
    ids[:, -1], mask[:, -1] = 0, 0
    ids[0, -1, : len(written_ids)], mask[0, -1, : len(written_ids)] = written_ids, 1
    output = model(pixel_values=frames, input_ids=ids, attention_mask=mask)
    logits = output.describe_logits[0, -1] if task == "describe" else output.next_caption_logits[0, -1]
    assert torch.equal(logits[: len(written)].argmax(-1), written)


def test_the_tasks_differ_and_an_unknown_one_is_refused(model, inputs):
    described, continued = (model.generate(**inputs, task=task, **GREEDY) for task in ("describe", "continue"))
    assert described.shape != continued.shape or not torch.equal(described, continued)
    with pytest.raises(ValueError, match="'paint'.*'describe', 'continue'"):
        model.generate(**inputs, task="paint")


def test_a_description_does_not_read_its_own_caption(model, small_processor, stories):
    story = stories[0]
    variants = [story["captions"], [story["captions"][0], None], ["Something else.", story["captions"][1]]]
    inputs = [inputs_of(small_processor, [story], captions=[captions]) for captions in variants]
    written = [model.generate(**tensors, task="describe", **GREEDY) for tensors in inputs]
    assert torch.equal(written[0], written[1])
    with torch.no_grad():
        states = [model(**tensors).describe_states[:, 1] for tensors in inputs]
    assert torch.allclose(states[0], states[1]) and not torch.allclose(states[0], states[2], atol=1e-3)


def test_stories_in_a_batch_do_not_touch_one_another(model, small_processor, stories):
    texts, frames = [], []
    for chosen in (stories, *([story] for story in stories)):
        inputs = inputs_of(small_processor, chosen)
        texts.append(small_processor.batch_decode(model.generate(**inputs, **GREEDY), skip_special_tokens=True))
        frames.append(model.predict_next_frame(**inputs))
    assert texts[0] == texts[1] + texts[2] + texts[3]
    assert torch.allclose(frames[0], torch.cat(frames[1:]), atol=1e-5)


def test_options_of_the_librarys_generate_work(model, inputs):
    assert model.generate(**inputs, max_new_tokens=3, min_new_tokens=3).shape == (3, 3)
    beams = model.generate(**inputs, num_beams=3, num_return_sequences=2, **GREEDY)
    assert len(beams) == 6
    torch.manual_seed(0)
    sampled = [model.generate(**inputs, do_sample=True, max_new_tokens=12, temperature=2.0) for _ in range(2)]
    assert sampled[0].shape != sampled[1].shape or not torch.equal(*sampled)
    scores = model.generate(**inputs, return_dict_in_generate=True, output_scores=True, **GREEDY)
    assert scores.sequences.shape[1] == len(scores.scores)


def test_stories_without_captions(model, small_processor, stories):
    inputs = inputs_of(small_processor, stories, captions=None)
    assert "input_ids" not in inputs
    missing = inputs_of(small_processor, stories, captions=[[None] * len(story["frames"]) for story in stories])
    assert torch.equal(model.generate(**inputs, **GREEDY), model.generate(**missing, **GREEDY))
    assert torch.allclose(model.predict_next_frame(**inputs), model.predict_next_frame(**missing), atol=1e-6)


@pytest.mark.parametrize("with_caption", [True, False])
def test_the_next_frame_is_that_of_forward(model, small_processor, with_caption):
    story = draw_story(5, num_frames=3)
    whole = inputs_of(small_processor, [story], captions=[["One.", "The red fox walks.", "The owl sleeps now."]])
    given = {name: value[:, :2] for name, value in whole.items()}
    following = {
        "next_input_ids": whole["input_ids"][:, 2],
        "next_attention_mask": whole["attention_mask"][:, 2],
    }
    painted = model.predict_next_frame(**given, **(following if with_caption else {}))
    with torch.no_grad():
        expected = model(**whole, use_next_caption=with_caption).predicted_frames[:, -1]
    assert painted.shape == (1, 3, 32, 48) and painted.min() >= 0 and painted.max() <= 1
    assert torch.allclose(painted, expected, atol=1e-5)
    other = model.predict_next_frame(**given, **({} if with_caption else following))
    assert not torch.allclose(painted, other, atol=1e-4)


def test_half_a_next_caption_is_refused(model, inputs):
    with pytest.raises(ValueError, match="next_attention_mask"):
        model.predict_next_frame(**inputs, next_input_ids=torch.ones(3, 4, dtype=torch.long))


def test_continue_story_alternates_words_and_pictures(model, small_processor, stories):
    frames, captions = ([list(story[name]) for story in stories] for name in ("frames", "captions"))
    continued = model.continue_story(small_processor, frames, captions, num_steps=3, **GREEDY)
    assert type(continued) is Stories and [len(story) for story in continued] == [5, 5, 4]
    assert [story.num_given for story in continued] == [len(story) for story in frames] == [2, 2, 1]
    assert all(picture.size == (48, 32) for story in continued for picture in story.continuation.frames)
    # The same by hand, one story, two steps.
    new = continued[0].continuation
    so_far, texts = list(frames[0]), list(captions[0])
    for step in range(2):
        inputs = inputs_of(small_processor, [{"frames": so_far[-2:], "captions": texts[-2:]}])
        (text,) = small_processor.batch_decode(model.generate(**inputs, **GREEDY), skip_special_tokens=True)
        assert text == new.captions[step]
        words = small_processor.tokenize_captions([[text]])
        painted = model.predict_next_frame(
            **inputs, next_input_ids=words["input_ids"][:, 0], next_attention_mask=words["attention_mask"][:, 0]
        )
        (picture,) = small_processor.postprocess_frames(painted)
        # A batch is added up in another order than a single story: by hand a pixel may round the other way.
        assert most_apart(picture, new.frames[step]) <= 1
        so_far.append(new.frames[step])
        texts.append(text)


def most_apart(first, second) -> int:
    return int(np.abs(np.asarray(first, int) - np.asarray(second, int)).max())


def test_one_story_gives_what_it_gives_in_a_batch(model, small_processor, stories):
    frames, captions = ([story[name] for story in stories] for name in ("frames", "captions"))
    options = {"num_steps": 3, "return_attention": True, **GREEDY}
    for index, in_batch in enumerate(model.continue_story(small_processor, frames, captions, **options)):
        alone = model.continue_story(small_processor, frames[index], captions[index], **options)
        assert type(alone) is Story and alone.captions == in_batch.captions
        assert alone.num_given == len(frames[index]) and alone.captions[: alone.num_given] == captions[index]
        assert all(most_apart(*pair) <= 1 for pair in zip(alone.frames, in_batch.frames))
        for step, maps in enumerate(zip(alone.attentions, in_batch.attentions)):
            assert len(maps[0]) == min(alone.num_given + step, model.config.max_frames - 1)
            tolerance = 1e-3 if step else 1e-5  # a painted pixel may have been rounded the other way
            assert torch.allclose(*maps, atol=tolerance) and torch.allclose(maps[0].sum((-1, -2)), torch.tensor(1.0))


def test_a_story_goes_on_where_it_ends(model, small_processor, stories):
    given = small_processor, stories[0]["frames"], stories[0]["captions"]
    whole = model.continue_story(*given, num_steps=3, **GREEDY)
    begun = model.continue_story(*given, num_steps=1, **GREEDY)
    for later in (begun, [begun]):
        later = model.continue_story(small_processor, later, num_steps=2, **GREEDY)
        later = later if isinstance(later, Story) else later[0]
        assert later.captions == whole.captions and later.num_given == 2 and len(begun) == 3
        assert all(most_apart(*pair) == 0 for pair in zip(later.frames, whole.frames))
    with pytest.raises(ValueError, match="captions: got list, expected none: a Story has its captions"):
        model.continue_story(small_processor, begun, ["One."] * 3)
    with pytest.raises(ValueError, match="frames: story 0: got no picture"):
        model.continue_story(small_processor, begun[:0])


@pytest.mark.parametrize("search", [{"num_beams": 3}, {"do_sample": True}], ids=["beams", "sampling"])
def test_each_of_several_captions_begins_a_future(model, small_processor, stories, search):
    frames, captions = ([story[name] for story in stories] for name in ("frames", "captions"))
    options = {**GREEDY, **search, "num_return_sequences": 3}
    torch.manual_seed(0)
    futures = model.continue_story(small_processor, frames, captions, num_steps=2, return_attention=True, **options)
    torch.manual_seed(0)
    ids = model.generate(**inputs_of(small_processor, stories), **options)
    texts = small_processor.batch_decode(ids, skip_special_tokens=True)
    assert [story[-2].caption for story in futures] == texts and len(set(texts[:3])) > 1
    for index, future in enumerate(futures):
        number = len(frames[index // 3])
        assert len(future) == number + 2 and future.captions[:number] == captions[index // 3]
        words = small_processor.tokenize_captions([[future[number].caption]])
        painted = model.predict_next_frame(
            **inputs_of(small_processor, [stories[index // 3]]),
            next_input_ids=words["input_ids"][:, 0],
            next_attention_mask=words["attention_mask"][:, 0],
        )
        assert most_apart(small_processor.postprocess_frames(painted)[0], future[number].frame) <= 1
        assert len(future.attentions[0]) == number, "the maps are those of the story of this future"
    one = model.continue_story(small_processor, frames[0], captions[0], **options)
    assert type(one) is Stories and len(one) == 3


def test_given_texts_are_painted_before_the_model_writes(model, small_processor, stories):
    stories = stories[:2]
    frames, captions = [[story[name] for story in stories] for name in ("frames", "captions")]
    texts = [["The fox walks.", "It rains."], ["", "A ball lies here."]]
    options = {"next_captions": texts, "num_steps": 3, **GREEDY}
    told = model.continue_story(small_processor, frames, captions, **options)
    for index, story in enumerate(told):
        pages = story.continuation
        assert pages.captions[:2] == texts[index] and [page.is_written for page in pages] == [False, False, True]
        assert [page.is_painted for page in pages] == [True] * 3
        alone = model.continue_story(small_processor, frames[index], captions[index], next_captions=texts[index])
        assert len(alone.continuation) == 2 and most_apart(alone[-1].frame, pages[1].frame) <= 1
        words = small_processor.tokenize_captions([texts[index][:1]])
        words = {f"next_{name}": words[name][:, 0] for name in ("input_ids", "attention_mask")}
        painted = model.predict_next_frame(**inputs_of(small_processor, [stories[index]]), **words)
        assert most_apart(small_processor.postprocess_frames(painted)[0], pages[0].frame) <= 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("It rains.", "next_captions: story 0: got str 'It rains.', expected a list of texts"),
        (["It rains.", None], "next_captions: story 0, step 1: got NoneType, expected a text"),
        (["\ud800"], "next_captions: story 0, step 0: got str"),
    ],
)
def test_what_is_no_text_to_paint_is_refused(model, small_processor, stories, texts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model.continue_story(small_processor, stories[0]["frames"], next_captions=texts)
    with pytest.raises(ValueError, match="got 1 lists, expected a list of texts for each of 2 stories"):
        model.continue_story(small_processor, [story["frames"] for story in stories[:2]], next_captions=[["It rains."]])


def test_the_generation_config_of_the_model_holds(model, small_processor, stories, monkeypatch):
    monkeypatch.setattr("transformers.generation.utils.logger.warning_once", pytest.fail)
    inputs = inputs_of(small_processor, stories)
    model.generation_config.max_new_tokens = 3
    assert model.generate(**inputs, do_sample=False, min_new_tokens=3).shape[1] == 3
    assert model.generate(**inputs, do_sample=False, min_new_tokens=5, max_new_tokens=5).shape[1] == 5
    model.generation_config.max_new_tokens = None
    longest = model.generate(**inputs, do_sample=False, suppress_tokens=[model.config.eos_token_id])
    assert longest.shape[1] == model.config.max_caption_length


def test_half_precision_tells_and_learns(model, small_processor, stories):
    half = copy.deepcopy(model).to(torch.bfloat16)
    story = half.continue_story(small_processor, stories[0]["frames"], stories[0]["captions"], 2, **GREEDY)
    assert len(story.continuation) == 2
    inputs = inputs_of(small_processor, stories)
    inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
    assert torch.isfinite(half(**inputs, return_loss=True).loss)


def test_a_story_is_read_once_a_step(model, small_processor, stories, monkeypatch):
    read, encode = [], model.model.encode
    monkeypatch.setattr(model.model, "encode", lambda *inputs: read.append(inputs) or encode(*inputs))
    model.continue_story(small_processor, stories[0]["frames"], stories[0]["captions"], 2, **GREEDY)
    assert len(read) == 2


def test_continue_story_without_captions_and_with_no_step(model, small_processor, stories):
    frames = [story["frames"] for story in stories]
    continued = model.continue_story(small_processor, frames, num_steps=1, **GREEDY)
    assert [len(story.continuation) for story in continued] == [1, 1, 1]
    assert [story[0].caption for story in continued] == [None] * 3
    with pytest.raises(ValueError, match="num_steps: got 0"):
        model.continue_story(small_processor, frames, num_steps=0)
    with pytest.raises(ValueError, match="story 0: got 1 captions for 2 frames"):
        model.continue_story(small_processor, frames, [["One."], ["Two.", "x"], ["y"]])
