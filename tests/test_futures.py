"""Several futures of a story: their captions and frames belong together, are reproducible, and are ranked."""

import pytest
import torch
from conftest import ANIMALS, draw_story, refused_line, uneven_model
from storyattn import Stories, StoryAttnForConditionalGeneration
from storyattn.story_ranking import story_scores
from storyattn.training.cli import tell
from test_flow_decoder import inputs_of, seeded, uneven
from transformers import pipeline

SHORT = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def stories() -> list[dict]:
    """Two drawn stories of two frames."""
    return [draw_story(seed, num_frames=2) for seed in (1, 2)]


@pytest.fixture(scope="module")
def regression(small_processor) -> StoryAttnForConditionalGeneration:
    """A model that writes something else for each story."""
    return uneven_model(small_processor, decoder_context_captions=2, std=0.5)


@pytest.fixture(scope="module")
def model(regression) -> StoryAttnForConditionalGeneration:
    """The same with a generative frame decoder that reads noise."""
    config = regression.config.from_dict({**regression.config.to_dict(), "frame_decoder_type": "flow"})
    model = StoryAttnForConditionalGeneration(config).eval()
    model.load_state_dict(regression.state_dict(), strict=False)
    return uneven(model)


def columns(stories: list[dict]) -> tuple[list, list]:
    return tuple([story[name] for story in stories] for name in ("frames", "captions"))


def pixels(story, processor) -> torch.Tensor:
    return processor(frames=[story.frames], return_tensors="pt")["pixel_values"][0]


def test_futures_have_captions_and_frames_of_their_own(model, small_processor, stories):
    options = {"num_steps": 2, "num_return_sequences": 4, **SHORT}
    futures = model.continue_story(small_processor, *columns(stories[:1]), **options, generator=seeded(1))
    assert type(futures) is Stories and len(futures) == 4 and futures.scores is None
    assert len({story[2].caption for story in futures}) > 1
    again = model.continue_story(small_processor, *columns(stories[:1]), **options, generator=seeded(1))
    for story, same in zip(futures, again):
        assert story.captions == same.captions
        assert torch.equal(pixels(story, small_processor), pixels(same, small_processor))
    other = model.continue_story(small_processor, *columns(stories[:1]), **options, generator=seeded(2))
    assert [story.captions for story in other] != [story.captions for story in futures]
    before = torch.get_rng_state()
    model.continue_story(small_processor, *columns(stories[:1]), **options, generator=seeded(2))
    assert torch.equal(torch.get_rng_state(), before), "a generator of one's own leaves torch's as it is"


def test_the_caption_that_is_written_is_the_one_that_is_painted(model, small_processor, stories, monkeypatch):
    """Frame j of a story has the noise of the seed after j draws, and reads caption j."""
    sampled = []
    next_frame = model._next_frame
    monkeypatch.setattr(model, "_next_frame", lambda *read: sampled.append(read) or next_frame(*read))
    options = {"num_return_sequences": 3, "generator": seeded(1), **SHORT}
    futures = model.continue_story(small_processor, *columns(stories), **options)
    (_, frames, ids, mask, sampling) = sampled[0]
    texts = small_processor.batch_decode(ids, skip_special_tokens=True)
    assert [text.strip() for text in texts] == [story[-1].caption.strip() for story in futures]
    assert len(frames) == 6 and sampling.num_sequences == 3
    for index, story in enumerate(futures):
        inputs = inputs_of(small_processor, [stories[index // 3]], story[-1].caption)
        encoded = model.model.encode(
            *(inputs[name] for name in ("pixel_values", "frame_mask", "input_ids", "attention_mask"))
        )
        words = (inputs[f"next_{name}"].repeat(3, 1) for name in ("input_ids", "attention_mask"))
        with torch.no_grad():
            alone = next_frame(encoded.repeat(3), inputs["pixel_values"].repeat(3, 1, 1, 1, 1), *words, sampling)
        painted = small_processor.postprocess_frames(alone[index % 3][None])[0]
        difference = pixels(story, small_processor)[-1] - small_processor(frames=[[painted]])["pixel_values"][0, 0]
        assert difference.abs().max() <= 2.1 / 127.5


def test_a_text_has_several_frames_and_a_batch_is_as_its_stories_alone(model, small_processor, stories):
    texts = [["The fox walks.", "It rains."], ["The owl sits.", "It snows."]]
    options = {"num_return_sequences": 3, "num_frame_steps": 2, "frame_guidance_scale": 1.5}
    told = model.continue_story(small_processor, *columns(stories), next_captions=texts, **options, generator=seeded(4))
    assert len(told) == 6 and all(story.continuation.captions == texts[row // 3] for row, story in enumerate(told))
    first = [pixels(story, small_processor)[2] for story in told[:3]]
    assert (first[0] - first[1]).abs().max() > 0.01 and (first[0] - first[2]).abs().max() > 0.01
    for row, story in enumerate(stories):
        frames, captions = story["frames"], story["captions"]
        given = {"next_captions": texts[row], **options, "generator": seeded(4)}
        alone = model.continue_story(small_processor, frames, captions, **given)
        for number in range(3):
            together, single = (pixels(one, small_processor) for one in (told[3 * row + number], alone[number]))
            assert (together - single).abs().max() <= 2.1 / 127.5


def test_the_likeliest_caption_may_have_several_frames(model, small_processor, stories):
    options = {"num_return_sequences": 3, "do_sample": False, **SHORT}
    futures = model.continue_story(small_processor, *columns(stories), **options, generator=seeded(1))
    likeliest = model.continue_story(small_processor, *columns(stories), do_sample=False, **SHORT)
    assert [story[-1].caption for story in futures] == [story[-1].caption for story in likeliest for _ in range(3)]
    frames = [pixels(story, small_processor)[-1] for story in futures[:3]]
    assert (frames[0] - frames[1]).abs().max() > 0.01 and (frames[1] - frames[2]).abs().max() > 0.01


def test_a_regression_model_draws_captions_and_takes_no_steps(regression, small_processor, stories):
    options = {"num_return_sequences": 3, **SHORT}
    futures, again = (
        regression.continue_story(small_processor, *columns(stories[:1]), **options, generator=seeded(1))
        for _ in range(2)
    )
    assert [story.captions for story in futures] == [story.captions for story in again]
    assert len({story[-1].caption for story in futures}) > 1
    for name, value in (("num_frame_steps", 4), ("frame_guidance_scale", 2.0)):
        with pytest.raises(ValueError, match=f"{name}: got .* with frame_decoder_type 'regression'"):
            regression.continue_story(small_processor, *columns(stories), **{name: value})
    for name, value in (("rank_by", "beauty"), ("num_return_sequences", 0), ("generator", 3)):
        with pytest.raises(ValueError, match=f"{name}: got"):
            regression.continue_story(small_processor, *columns(stories), **{name: value})


@pytest.mark.parametrize("rank_by", ["likelihood", "similarity"])
def test_the_best_future_comes_first(model, small_processor, stories, rank_by):
    options = {"num_steps": 2, "num_return_sequences": 3, "rank_by": rank_by, **SHORT}
    futures = model.continue_story(small_processor, *columns(stories), **options, generator=seeded(1))
    assert len(futures) == 6 and len(set(futures.scores)) > 2
    for row in (0, 3):
        assert futures.scores[row : row + 3] == sorted(futures.scores[row : row + 3], reverse=True)
        assert all(story.captions[:2] == stories[row // 3]["captions"] for story in futures[row : row + 3])
    assert futures[1:3].scores == futures.scores[1:3]
    assert story_scores(model, small_processor, futures, 2, rank_by) == pytest.approx(futures.scores)


def test_scores_by_hand(model, small_processor, stories):
    """The likelihood is that of the tokens of the last caption in one pass, the similarity a cosine."""
    futures = model.continue_story(small_processor, *columns(stories), **SHORT)
    frames, captions = [story.frames for story in futures], [story.captions for story in futures]
    inputs = dict(small_processor(frames=frames, captions=captions, return_tensors="pt"))
    with torch.no_grad():
        output = model(**inputs)
    likely = story_scores(model, small_processor, futures, 1, "likelihood")
    similar = story_scores(model, small_processor, futures, 1, "similarity")
    for row in range(2):
        ids, mask = inputs["input_ids"][row, 2, 1:], inputs["attention_mask"][row, 2, 1:].bool()
        chances = output.next_caption_logits[row, 1].log_softmax(-1)[:-1].gather(-1, ids[:, None])[:, 0]
        assert likely[row] == pytest.approx(chances[mask].mean().item(), abs=1e-4)
        cosine = (output.image_embeds[row, 2] * output.text_embeds[row, 2]).sum()
        assert similar[row] == pytest.approx(cosine.item(), abs=1e-4)


def test_the_pipeline_takes_the_options(model, small_processor, stories):
    tell_on = pipeline("story-continuation", model=model, processor=small_processor)
    options = {"num_frame_steps": 2, "frame_guidance_scale": 1.5, "num_return_sequences": 2, "rank_by": "likelihood"}
    (result,) = tell_on([stories[0]], **options, generator=seeded(1), **SHORT)
    expected = model.continue_story(
        small_processor, stories[0]["frames"], stories[0]["captions"], **options, generator=seeded(1), **SHORT
    )
    assert [future["captions"] for future in result] == [story.continuation.captions for story in expected]
    assert [future["frames"] for future in result] == [story.continuation.frames for story in expected]


def test_tell_saves_each_future(model, regression, small_processor, stories, tmp_path, capsys):
    picture = tmp_path / "a.png"
    stories[0]["frames"][0].save(picture)
    for name, one in (("flow", model), ("regression", regression)):
        one.save_pretrained(tmp_path / name)
        small_processor.save_pretrained(tmp_path / name)
    flags = ["--frames", str(picture), "--captions", f"The {ANIMALS[0]} walks.", "--steps", "1", "--device", "cpu"]
    sampling = ["--num_frame_steps", "2", "--frame_guidance_scale", "1.5", "--futures", "2", "--rank_by", "similarity"]
    files = []
    for name in ("one", "two"):
        output = ["--output", str(tmp_path / f"{name}.png"), "--seed", "3", "--max_new_tokens", "6"]
        tell.main(["--model", str(tmp_path / "flow"), *flags, *sampling, *output])
        files.append([(tmp_path / f"{name}-{number}.png").read_bytes() for number in (1, 2)])
    assert files[0] == files[1] and files[0][0] != files[0][1]
    assert "Story 2" in capsys.readouterr().out
    refused = refused_line(tell.main, ["--model", str(tmp_path / "regression"), *flags, "--num_frame_steps", "2"])
    assert "num_frame_steps: got int 2 with frame_decoder_type 'regression'" in refused
    assert "rank_by: got 'likelihood' with one future" in refused_line(
        tell.main, ["--model", "/nowhere/model", *flags, "--rank_by", "likelihood"]
    )
