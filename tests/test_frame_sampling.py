"""Sampling of frames: seeds, batches, steps, guidance, and what is refused."""

import pytest
import torch
from conftest import draw_story
from storyattn import StoryAttnForConditionalGeneration
from storyattn.frame_noise import NoisyFrames
from storyattn.frame_sampling import noise_levels, sample_frames
from test_flow_decoder import inputs_of, make_model, seeded, uneven


@pytest.fixture(scope="module")
def stories() -> list[dict]:
    """Three drawn stories, of three frames, two and one."""
    return [draw_story(seed, num_frames=number) for seed, number in ((1, 3), (2, 2), (4, 1))]


@pytest.fixture(scope="module")
def batch(small_processor, stories) -> dict:
    return inputs_of(small_processor, stories)


@pytest.fixture(scope="module")
def model(small_processor) -> StoryAttnForConditionalGeneration:
    """A model that reads noise; nothing may change it."""
    return uneven(make_model(small_processor))


def test_a_seed_gives_the_same_samples_and_another_seed_others(model, batch):
    first, again, other = (
        model.predict_next_frame(**batch, generator=seeded(seed), num_return_sequences=2) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and first.shape == (6, 3, 32, 48)
    assert (first - other).abs().max() > 0.01 and (first[0] - first[1]).abs().max() > 0.01
    assert first.min() >= 0 and first.max() <= 1
    torch.manual_seed(3)
    one = model.predict_next_frame(**batch)
    torch.manual_seed(3)
    assert torch.equal(model.predict_next_frame(**batch), one)
    assert not torch.equal(model.predict_next_frame(**batch), one)


@pytest.mark.parametrize("text", [None, "The red fox walks."])
def test_a_batch_of_stories_gives_what_each_gives_alone(model, small_processor, stories, text):
    options = {"num_return_sequences": 3, "frame_guidance_scale": 2.0}
    together = model.predict_next_frame(**inputs_of(small_processor, stories, text), **options, generator=seeded(1))
    for row, story in enumerate(stories):
        alone = model.predict_next_frame(**inputs_of(small_processor, [story], text), **options, generator=seeded(1))
        torch.testing.assert_close(together[3 * row : 3 * row + 3], alone, atol=1e-4, rtol=0)


def test_a_story_is_encoded_and_planned_once_and_painted_at_each_step(model, batch, monkeypatch):
    decoder, encoded, planned, levels = model.frame_decoder, [], [], []
    encode, plan, paint = model.model.encode, decoder._plan, decoder._paint
    monkeypatch.setattr(model.model, "encode", lambda *inputs: encoded.append(inputs) or encode(*inputs))
    monkeypatch.setattr(decoder, "_plan", lambda *read: planned.append(read) or plan(*read))
    monkeypatch.setattr(
        decoder, "_paint", lambda plan, noisy: levels.append(noisy.level[0, 0].item()) or paint(plan, noisy)
    )
    model.predict_next_frame(**batch, num_frame_steps=4)
    assert len(encoded) == len(planned) == 1 and levels == pytest.approx([1.0, 0.85, 0.6, 0.3])
    levels.clear()
    model.predict_next_frame(**batch, num_frame_steps=4, frame_guidance_scale=2.0)
    guided = [1.0, *(level for level in (0.85, 0.6, 0.3) for _ in range(2))]
    assert levels == pytest.approx(guided), "twice in the middle of the noise, once at its end"
    assert len(planned) == 3, "with and without the condition"


def test_noise_levels_fall_from_one_to_zero():
    assert noise_levels(4) == pytest.approx([1.0, 0.85, 0.6, 0.3, 0.0])
    assert noise_levels(1) == [1.0, 0.0] and noise_levels(2) == pytest.approx([1.0, 0.6, 0.0])
    for steps in range(1, 9):
        levels = noise_levels(steps)
        assert levels[0] == 1 and levels[-1] == 0 and levels == sorted(set(levels), reverse=True)


def test_steps_lie_on_the_line_from_noise_to_the_frame():
    """If the frame is always foreseen right, each step reads the true mixture of frame and noise."""
    frame, noise, read = torch.rand(1, 1, 3, 4, 4), torch.randn(1, 1, 3, 4, 4), []
    last = sample_frames(lambda noisy: read.append(noisy) or frame, noise, noise_levels(4))
    for noisy in (*read, last):
        level = noisy.level[0, 0]
        torch.testing.assert_close(noisy.pixels, level * noise + (1 - level) * (2 * frame - 1))
    assert last.level.item() == pytest.approx(0.3)


def test_guidance_leads_away_from_what_is_painted_without_caption_or_story(model, small_processor, stories, batch):
    with_text = inputs_of(small_processor, stories, "The gold bear walks to the right.")
    for inputs in (batch, with_text):
        plain, one, more = (
            model.predict_next_frame(**inputs, frame_guidance_scale=scale, generator=seeded(1))
            for scale in (None, 1.0, 3.0)
        )
        assert torch.equal(plain, one) and (plain - more).abs().max() > 1e-3
    encoded = model.model.encode(
        *(batch[name] for name in ("pixel_values", "frame_mask", "input_ids", "attention_mask"))
    )
    words = with_text["next_input_ids"], with_text["next_attention_mask"]
    dropped = model._inputs_of_next(encoded, batch["pixel_values"], *words, without_condition=True)
    read = model._inputs_of_next(encoded, batch["pixel_values"], None, None)
    noisy = NoisyFrames(torch.randn(3, 1, 3, 32, 48), torch.full((3, 1), 0.5))
    without_caption = model.frame_decoder(read, noisy).frames
    torch.testing.assert_close(model.frame_decoder(dropped, noisy).frames, without_caption)
    dropped = model._inputs_of_next(encoded, batch["pixel_values"], None, None, without_condition=True)
    assert dropped.visible.sum(-1).tolist() == [[1], [1], [1]], "of the story the last frame alone is left"
    assert (model.frame_decoder(dropped, noisy).frames - without_caption).abs().max() > 1e-4


def test_what_cannot_be_sampled_is_refused(model, small_processor, batch):
    regression = make_model(small_processor, frame_decoder_type="regression")
    given = {"num_frame_steps": 4, "frame_guidance_scale": 2.0, "generator": seeded(1), "num_return_sequences": 2}
    for name, value in given.items():
        with pytest.raises(ValueError, match=f"{name}: got .* with frame_decoder_type 'regression', expected none"):
            regression.predict_next_frame(**batch, **{name: value})
    wrong = {"num_frame_steps": 9, "frame_guidance_scale": -1.0, "generator": 7, "num_return_sequences": 0}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"{name}: got"):
            model.predict_next_frame(**batch, **{name: value})
    for name in ("num_frame_steps", "frame_guidance_scale", "generator"):
        with pytest.raises(ValueError, match=f"{name}: got .*, expected none with generation_mode 'text'"):
            model.generate(**batch, **{name: given[name]})


def test_generate_samples_pictures(model, batch):
    options = {"num_frame_steps": 2, "frame_guidance_scale": 2.0, "num_return_sequences": 2}
    painted = model.generate(**batch, generation_mode="image", **options, generator=seeded(1))
    assert torch.equal(painted, model.predict_next_frame(**batch, **options, generator=seeded(1)))
